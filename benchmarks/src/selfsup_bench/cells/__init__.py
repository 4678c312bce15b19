"""One cell, one training and its evaluation: what determines it, and how it runs."""
