"""Exports of encoders of several parts for other libraries."""
