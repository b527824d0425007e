"""What every command shares: the entry point, its errors, outputs and helpers. Imports nothing slow."""
