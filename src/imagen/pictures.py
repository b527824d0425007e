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
NOTE_SIZE, NOTE_WIDTH, NOTE_HEIGHT, NOTE_LETTERS, NOTE_LINES = 10, 130, 38, 25, 3
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
    rows: Sequence[Sequence[np.ndarray]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    cell: int = 96,
    notes: Sequence[Sequence[str]] | None = None,
) -> Image.Image:
    """A grid of pictures, each in a square of `cell` pixels, with a label to the left of each row and above each
    column, and a note of a few words under each picture if there are `notes`.

    Smaller pictures are enlarged by nearest neighbour, so that every generated pixel can be seen.
    """
    font, small = ImageFont.load_default(size=11), ImageFont.load_default(size=NOTE_SIZE)
    across = MARGIN + (cell if notes is None else max(cell, NOTE_WIDTH))
    down = MARGIN + cell + (0 if notes is None else NOTE_HEIGHT)
    width = LABEL_WIDTH + len(column_labels) * across + MARGIN
    height = LABEL_HEIGHT + len(rows) * down + MARGIN
    grid = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(grid)
    for column, label in enumerate(column_labels):
        x = LABEL_WIDTH + column * across + cell // 2
        draw.text((x, LABEL_HEIGHT // 2), label, INK, font=font, anchor="mm")
    for row, (label, pictures) in enumerate(zip(row_labels, rows, strict=True)):
        y = LABEL_HEIGHT + row * down
        draw.multiline_text((MARGIN, y + cell // 2), textwrap.fill(label, 32), INK, font=font, anchor="lm", spacing=2)
        for column, picture in enumerate(pictures):
            x = LABEL_WIDTH + column * across
            thumbnail = _thumbnail(picture, cell)
            grid.paste(thumbnail, (x + (cell - thumbnail.width) // 2, y + (cell - thumbnail.height) // 2))
            if notes is not None:
                text = textwrap.fill(notes[row][column], NOTE_LETTERS, max_lines=NOTE_LINES, placeholder=" …")
                draw.multiline_text((x, y + cell + 1), text, INK, font=small, spacing=1)
    return grid


def _thumbnail(picture: np.ndarray, cell: int) -> Image.Image:
    """The picture with a longer side of `cell` pixels."""
    height, width = picture.shape[:2]
    longer = max(height, width)
    method = Image.Resampling.NEAREST if longer <= cell else Image.Resampling.LANCZOS
    size = max(1, round(width * cell / longer)), max(1, round(height * cell / longer))
    return Image.fromarray(picture).resize(size, method)
