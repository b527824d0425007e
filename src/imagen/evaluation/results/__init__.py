"""From the blocks of a sweep to numbers with intervals."""
