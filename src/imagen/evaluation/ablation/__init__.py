"""Curves, plot and table of an ablation."""
