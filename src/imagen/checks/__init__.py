"""Checks of outside input: names, arguments, captions, and other people's JSON and configuration."""
