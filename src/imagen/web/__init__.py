"""The page on which a trained cascade is used, and the work behind it."""
