"""Pandas frames of what was measured and published; every score is in percent."""
