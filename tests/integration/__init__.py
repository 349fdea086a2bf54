"""One part of the service at a time, with the real ffmpeg, PostgreSQL, disk or S3 store that it needs."""
