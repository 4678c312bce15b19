"""One pretraining run, from what a caller says to its encoder."""
