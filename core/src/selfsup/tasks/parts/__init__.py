"""What tasks are made of: masks, moving averages, transformers, the loss of labels."""
