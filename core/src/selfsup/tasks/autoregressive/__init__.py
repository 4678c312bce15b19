"""The autoregressive family: predict what comes next."""
