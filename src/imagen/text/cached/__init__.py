"""The embedding cache: shards of embedded captions on disk, and how they are made."""
