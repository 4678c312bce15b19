"""One pretraining run, from the caller's options to its encoder."""
