"""Measures the service beside bare ffmpeg, and under more load than it takes."""
