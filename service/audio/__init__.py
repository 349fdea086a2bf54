"""Sound: reads WAVs, runs ffmpeg, and checks MP3s."""
