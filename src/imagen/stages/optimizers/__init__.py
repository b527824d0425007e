"""Optimizers that torch lacks, or has for matrices alone. All of them step on sharded weights too."""
