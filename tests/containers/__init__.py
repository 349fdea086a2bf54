"""The image and both compose files, run by a real Docker."""
