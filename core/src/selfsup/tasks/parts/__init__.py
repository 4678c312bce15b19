"""Parts of tasks: masks, moving averages, transformers, the loss on labels."""
