"""Decode a row's recording to a mono waveform: files that libsndfile or FFmpeg read, and arrays."""

from selfsup_audio.decoding.values import Cut, Header, decode, read_header

__all__ = ["Cut", "Header", "decode", "read_header"]
