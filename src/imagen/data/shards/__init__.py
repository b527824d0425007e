"""Tar archives of samples, on this disk or elsewhere, and the table of the samples in each."""
