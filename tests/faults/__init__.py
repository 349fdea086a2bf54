"""What happens if a client, ffmpeg, a disk or the database fails; almost every test checks the invariants."""
