"""benchmarks of wavepress."""
