"""Distances between sets of features, with their uncertainty, audited by other libraries."""
