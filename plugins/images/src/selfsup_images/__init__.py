"""Image operations on batches, on any device, and what the plugins of images and of videos share."""
