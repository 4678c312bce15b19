"""Learns the columns of a table, and turns their values into numbers and codes."""
