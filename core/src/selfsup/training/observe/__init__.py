"""Observe a run: the journal, loggers, an online probe, a collapse monitor."""
