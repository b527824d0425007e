"""What `save_png` wrote into a picture."""

import json

from PIL import Image


def read_settings(path):
    """The settings in the metadata of a PNG file."""
    with Image.open(path) as image:
        return json.loads(image.text["imagen"])
