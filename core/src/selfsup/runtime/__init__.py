"""The ground floor: files, locks, progress, precision, processes, randomness; of selfsup it knows the errors alone."""
