"""Captions as DeepFloyd IF reads them."""
