"""Embedded captions that lie beside the pictures, row by row."""
