"""Networks for rows of several parts: a tower a part, or one transformer over the tokens of all."""
