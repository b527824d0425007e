"""What comes from outside is checked here: names, arguments, captions, JSON and configuration of strangers."""
