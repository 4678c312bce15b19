"""The store: rows processed once, kept on disk, memory-mapped."""
