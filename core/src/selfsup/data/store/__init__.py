"""The store: rows processed once, kept on disk, mapped into memory."""
