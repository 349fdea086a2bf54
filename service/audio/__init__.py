"""What is known of sound: WAV in, MP3 out, and the ffmpeg between them."""
