"""The cells of a sweep, sampled block by block on the same noise."""
