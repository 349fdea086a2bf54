"""faults of wavepress."""
