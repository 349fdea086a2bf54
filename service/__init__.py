"""Streams WAV uploads through ffmpeg and keeps the MP3s."""

__version__ = "0.1.0"
