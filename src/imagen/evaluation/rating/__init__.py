"""Blind human rating: a page of pictures and questions, a key to the sources of its pictures, and scores of answers."""
