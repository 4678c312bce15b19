"""Random changes of images and videos in batches, on any device: torch alone, each sample with its own parameters."""
