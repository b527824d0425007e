"""What the pictures of each cell cost, in the report: numbers, a plot and a sentence."""
