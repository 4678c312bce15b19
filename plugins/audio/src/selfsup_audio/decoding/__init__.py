"""From what a row holds to a mono waveform: files that libsndfile or FFmpeg read, arrays; and a reason where it fails."""

from selfsup_audio.decoding.values import Cut, Header, decode, read_header

__all__ = ["Cut", "Header", "decode", "read_header"]
