"""What is seen of a run: the journal, loggers, an online probe, a monitor of collapse."""
