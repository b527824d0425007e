"""Folders of this checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds conf/, assets/ and train.py."""
