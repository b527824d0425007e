"""Captioned pictures of one's own, and judges of them that train in seconds."""

import json

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 40, 30), "green": (30, 200, 60), "blue": (40, 60, 230), "black": (0, 0, 0)}
SIDES = ("left", "right", "top", "bottom")


def save_pictures(folder, rows):
    """Captioned pictures of 20 x 20 pixels: a colour on one side, white on the other."""
    folder.mkdir()
    for number, (name, side) in enumerate(rows):
        picture = np.full((20, 20, 3), 255, np.uint8)
        half = {"left": np.s_[:, :10], "right": np.s_[:, 10:], "top": np.s_[:10], "bottom": np.s_[10:]}[side]
        picture[half] = COLOURS[name]
        Image.fromarray(picture).save(folder / f"{number}.png")
    lines = [{"file_name": f"{i}.png", "text": f"{name} on the {side}"} for i, (name, side) in enumerate(rows)]
    (folder / "metadata.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


TINY = [
    "image_size=16",
    "network.width=64",
    "network.layers=1",
    "network.text_width=32",
    "network.text_layers=1",
    "network.projection=16",
    "vocabulary=560",
    "augmentation.drop_words=0.0",
    "augmentation.zoom=0.0",
    "optimisation.warmup=5",
    "optimisation.learning_rate=2e-3",
    "data.batch_size=16",
    "data.train.n=3",
    "device=cpu",
]
"""Options of `imagen train-judge` for a judge that is trained in seconds."""
