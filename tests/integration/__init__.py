"""integration of wavepress."""
