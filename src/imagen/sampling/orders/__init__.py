"""Long work: rows of prompts with their own settings, sampled batch by batch, saved as they are made."""
