"""Blind human rating: a page of pictures and questions, the key that tells what was shown, and what the answers say."""
