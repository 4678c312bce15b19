"""Multimodal tasks that differ from what the core composes."""
