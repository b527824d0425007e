"""Rules of guidance that need a second trained stage."""
