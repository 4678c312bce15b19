"""Media files that rows name or hold."""
