"""Decode a row's video to frames: files that FFmpeg reads, folders of frames, and arrays."""

from selfsup_video.decoding.files import Header
from selfsup_video.decoding.values import Choose, decode, read_header

__all__ = ["Choose", "Header", "decode", "read_header"]
