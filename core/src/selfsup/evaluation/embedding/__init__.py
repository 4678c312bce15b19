"""Embed a source: the file of embeddings, and the engines that compute them."""
