"""Sources that are read row by row, shard after shard: nothing is copied, and only what is needed lies in memory."""
