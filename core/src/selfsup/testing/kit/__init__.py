"""The conformance kit: checks on everything that is registered."""
