"""Two finished evaluations side by side."""
