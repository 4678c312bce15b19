"""The training loop: trainer, stepper, optimizers, schedule, checkpoints."""
