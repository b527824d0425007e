"""Denoising strips: each stage's estimates of the picture at a few moments of sampling, at a few weights."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from imagen.evaluation.sweep.blocks import save_atomically
from imagen.files import fingerprint, read_tensors
from imagen.pictures import labelled_grid, save_png

FILE = "strips.safetensors"


@dataclass(frozen=True)
class Strip:
    """One stage's estimates of x0, guided and thresholded; the last one is the picture.

    `log_snrs`: the log-SNR of each moment, noisiest first.
    """

    stage: str
    log_snrs: Sequence[float]
    pictures: UInt8[Tensor, "weights prompts moments height width 3"]


def save_strips(strips: Sequence[Strip], identity: Mapping[str, Any], folder: Path) -> None:
    """Save the strips with their `identity`. Equal strips give equal files."""
    header = {
        "fingerprint": fingerprint(dict(identity)),
        "stages": {strip.stage: list(strip.log_snrs) for strip in strips},
    }
    tensors = {strip.stage: strip.pictures.contiguous() for strip in strips}
    save_atomically(tensors, {"strips": json.dumps(header)}, folder / FILE)


def load_strips(identity: Mapping[str, Any], folder: Path) -> list[Strip] | None:
    """The saved strips; None if there are none with this `identity` or they are damaged."""
    from safetensors import SafetensorError

    try:
        metadata, tensors = read_tensors(folder / FILE)
        header = json.loads(metadata.get("strips", "{}"))
    except (OSError, SafetensorError, ValueError, RecursionError):
        return None
    if not isinstance(header, dict) or header.get("fingerprint") != fingerprint(dict(identity)):
        return None
    return [Strip(stage, levels, tensors[stage]) for stage, levels in header["stages"].items()]


def draw_strips(strips: Sequence[Strip], texts: Sequence[str], weights: Sequence[float], folder: Path) -> None:
    """Write strips-<number>-<stage>.png: moments across, prompts and weights down. Removes pictures of earlier runs."""
    remove_strips(folder)
    for number, strip in enumerate(strips, start=1):
        places = [(prompt, weight) for prompt in range(len(texts)) for weight in range(len(weights))]
        rows = [list(strip.pictures[weight, prompt].numpy()) for prompt, weight in places]
        labels = [f"w = {weights[weight]:g}: {texts[prompt]}" for prompt, weight in places]
        columns = [f"log-SNR  {level:.1f}" for level in strip.log_snrs]
        picture = labelled_grid(rows, labels, columns)
        save_png(
            picture, folder / f"strips-{number}-{strip.stage}.png", {"stage": strip.stage, "weights": list(weights)}
        )


def strip_files(folder: Path) -> list[Path]:
    """The files of `draw_strips`, stage by stage."""
    return sorted(folder.glob("strips-*.png"))


def remove_strips(folder: Path) -> None:
    """Delete the pictures of an earlier run."""
    for old in strip_files(folder):
        old.unlink()
