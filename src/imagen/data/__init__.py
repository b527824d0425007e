"""Captioned pictures: sources, batches and the DataModule."""
