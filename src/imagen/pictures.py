"""Picture files: PNGs that carry their settings, and labelled grids."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from imagen.files import replacing

MARGIN, LABEL_HEIGHT, LABEL_WIDTH = 4, 18, 190
INK, PAPER = (32, 32, 32), (255, 255, 255)


def save_png(picture: np.ndarray | Image.Image, path: Path, settings: Mapping[str, Any]) -> None:
    """Write a picture (uint8, height × width × 3) as PNG, atomically, with `settings` as JSON in its metadata.

    Raises ValueError for NaN and infinity in `settings`, which are not JSON.
    """
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("imagen", json.dumps(settings, ensure_ascii=False, allow_nan=False))
    with replacing(path) as stream:
        image.save(stream, format="PNG", pnginfo=info)


def labelled_grid(
    rows: Sequence[Sequence[np.ndarray]], row_labels: Sequence[str], column_labels: Sequence[str], cell: int = 96
) -> Image.Image:
    """A grid of pictures, each `cell` pixels wide, with a label to the left of each row and above each column.

    Smaller pictures are enlarged by nearest neighbour, so that every generated pixel can be seen.
    """
    font = ImageFont.load_default(size=11)
    width = LABEL_WIDTH + len(column_labels) * (cell + MARGIN) + MARGIN
    height = LABEL_HEIGHT + len(rows) * (cell + MARGIN) + MARGIN
    grid = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(grid)
    for column, label in enumerate(column_labels):
        x = LABEL_WIDTH + column * (cell + MARGIN) + cell // 2
        draw.text((x, LABEL_HEIGHT // 2), label, INK, font=font, anchor="mm")
    for row, (label, pictures) in enumerate(zip(row_labels, rows, strict=True)):
        y = LABEL_HEIGHT + row * (cell + MARGIN)
        draw.multiline_text((MARGIN, y + cell // 2), textwrap.fill(label, 32), INK, font=font, anchor="lm", spacing=2)
        for column, picture in enumerate(pictures):
            method = Image.Resampling.NEAREST if picture.shape[0] <= cell else Image.Resampling.LANCZOS
            thumbnail = Image.fromarray(picture).resize((cell, cell), method)
            grid.paste(thumbnail, (LABEL_WIDTH + column * (cell + MARGIN), y))
    return grid
