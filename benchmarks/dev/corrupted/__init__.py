"""Damaged and hostile inputs of every kind, given to the product in child processes that a watchdog looks after."""
