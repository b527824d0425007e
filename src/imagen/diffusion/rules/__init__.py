"""Newer rules of guidance, one a file. Each is the conditional estimate at a weight of 1."""
