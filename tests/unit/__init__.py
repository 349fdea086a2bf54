"""unit of wavepress."""
