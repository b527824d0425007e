"""Published weights: their list, their download and verification. Only this room opens a network connection itself."""
