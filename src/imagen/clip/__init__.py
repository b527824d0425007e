"""CLIP models in folders: the towers of judges, and what conditions stages on a picture's embedding."""
