"""Evaluators for texts, and what they share."""
