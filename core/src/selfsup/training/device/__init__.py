"""Devices, and what makes a step faster on each kind of them."""
