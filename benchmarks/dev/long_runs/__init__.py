"""Runs whose processes are killed, whose disk fills up, and that last long: what the long tests share. Linux only."""
