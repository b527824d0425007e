"""Published weights: which there are, what must arrive, and the only code of this package that opens a connection."""
