"""Training on a device: steps, whole trainings against peers, and where the time goes."""
