"""Text: frozen encoders, and the cache of their embeddings."""
