"""What a PNG file of ours says of itself."""

import json
from pathlib import Path
from typing import Any

from PIL import Image


def read_settings(path: Path) -> dict[str, Any]:
    """The settings that `save_png` wrote."""
    with Image.open(path) as image:
        return json.loads(image.text["imagen"])
