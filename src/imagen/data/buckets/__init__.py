"""Aspect-ratio buckets: pictures keep their shape, and each batch holds pictures of one shape."""
