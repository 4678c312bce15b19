"""Toy modalities to test against."""
