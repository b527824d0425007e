"""Writes a data set into tar archives, with the embedded captions beside the pictures."""
