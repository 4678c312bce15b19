"""Data sources: from what a user writes after ``--data`` to rows."""
