"""What objectives are made of: heads, queues, quantizers, k-means."""
