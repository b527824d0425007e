"""Sets of prompts and their sources."""
