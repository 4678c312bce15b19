"""Devices, and speed-ups for each kind of them."""
