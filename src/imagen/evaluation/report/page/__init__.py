"""Pages of one file: their pieces, their interactive plot, their style and script."""
