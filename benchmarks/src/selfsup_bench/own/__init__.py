"""The user's own data as a benchmark: is pretraining worth it there, and which task?"""
