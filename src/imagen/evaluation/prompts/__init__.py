"""Sets of prompts and where they come from."""
