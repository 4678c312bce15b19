"""Encoders of several parts in the formats of other programs."""
