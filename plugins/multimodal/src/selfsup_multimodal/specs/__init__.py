"""What the plugin registers, one module a kind. Imports nothing heavy."""
