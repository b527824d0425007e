"""OpenMoji: 3,953 drawn pictures whose names are compositions, from packages of the Python index."""
