"""Data sources: from the value of ``--data`` to rows."""
