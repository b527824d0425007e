"""Samples the cells of a sweep, block by block on the same noise."""
