"""Backbones for tables."""
