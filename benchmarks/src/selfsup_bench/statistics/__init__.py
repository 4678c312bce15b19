"""Means, intervals and differences over seeds, draws of the labels and test rows."""
