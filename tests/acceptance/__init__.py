"""acceptance of wavepress."""
