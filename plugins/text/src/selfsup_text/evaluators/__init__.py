"""Measurements of text encoders that are more than a class for each text."""
