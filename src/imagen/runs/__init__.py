"""A training run: its folder, saved configuration, weights, trainer, and how it resumes."""
