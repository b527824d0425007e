"""Data sets that LitData has optimised: read by place, without LitData."""
