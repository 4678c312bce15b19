"""Backbones for joined rows: one tower per part, or one transformer over the tokens of all parts."""
