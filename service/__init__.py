"""Streams WAV uploads through ffmpeg and keeps the MP3s."""
