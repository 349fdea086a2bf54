"""tests of wavepress."""
