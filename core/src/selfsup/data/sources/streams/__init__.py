"""Read sources row by row, shard after shard: nothing is copied, and only the rows in use are in memory."""
