"""Trained stages made ready to sample, from a configuration or from Python."""
