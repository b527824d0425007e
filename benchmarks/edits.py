"""What one does with a trained cascade besides giving it captions: a page of pictures, and what can be measured of it.

    python benchmarks/edits.py docs/images/edits.png    # the shipped cascade, 256 held-out scenes

Settings are those of TextToImage. The figures are the seam of inpainting at every stage, and the share of pictures that
the checker finds right: with their right half drawn anew, and in sizes that the cascade was not trained on. Last comes
what a negative prompt does to the size of an object.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from edits_page import NEGATIVE, PLAIN, Page
from torch import Tensor

from imagen.commandline.command import prepare_environment
from imagen.data.pixels import from_uint8, to_uint8
from imagen.diffusion.conditioning import resize
from imagen.evaluation.statistics.jackknife import Interval, jackknife_mean, wilson
from imagen.pictures import save_png
from imagen.places import ROOT
from imagen.sampling.text_to_image import TextToImage
from imagen.shapes import Scene, Verdict, check, draw, observe, sample_scene
from imagen.tensors import Images, Size

RESAMPLES = (1, 2, 4, 8)
SIZES = ((64, 64), (48, 64), (64, 48), (64, 96), (96, 96))

COLUMNS = ("step across the edge", "more than in the true picture", "other columns", "kept levels changed", "all right")
"""Of the tables of inpainting, in grey levels; `other columns`: the mean step from any other column to the next."""


class Bench:
    """The cascade, and held-out scenes as it makes them: one picture of each, float32 in [-1, 1]."""

    def __init__(self, count: int, steps: int | None = None, place: Path = ROOT / "assets" / "cascade") -> None:
        self.model = TextToImage.load(place, device="cpu")
        self.side = self.model.stages[-1].resolution
        self.steps = steps
        self.scenes = [sample_scene(0, index, "held_out") for index in range(count)]
        self.true = from_uint8(np.stack([draw(scene, self.side) for scene in self.scenes]))

    def make(self, captions: Sequence[str], **options: Any) -> Any:
        return self.model.images(captions, steps=self.steps, **options)

    def stages(self, **options: Any) -> dict[str, Images]:
        """The pictures of each stage for the held-out captions; the same noise whatever else is given."""
        return self.make([scene.caption for scene in self.scenes], all_stages=True, **options)

    def right_half(self) -> Tensor:
        mask = torch.zeros(self.side, self.side, dtype=torch.bool)
        mask[:, self.side // 2 :] = True
        return mask


def inpainting(bench: Bench) -> None:
    """Prints a table for each stage: the right half of true pictures drawn anew."""
    mask, given = bench.right_half(), list(bench.true)
    first = bench.model.roles[0]
    made = {"plain sampling": bench.stages()}
    for resample in RESAMPLES:
        made[f"resample {resample}"] = bench.stages(picture=given, mask=mask, resample={first: resample})
    made["resample 4 in every stage"] = bench.stages(picture=given, mask=mask, resample=4)
    for stage in bench.model.stages:
        print(f"\n{stage.name}, {stage.resolution} × {stage.resolution}, {len(given)} pictures")
        print("| right half drawn anew | " + " | ".join(COLUMNS) + " |\n|---|" + "---|" * len(COLUMNS))
        small = resize(mask[None, None].float(), stage.resolution)[0, 0] > 0  # as KnownPixels has it
        true = to_uint8(resize(bench.true, stage.resolution))
        rows = {"true pictures": true} | {name: to_uint8(images[stage.name]) for name, images in made.items()}
        for name, pictures in rows.items():
            print(seam_row(name, pictures, true, small, bench.scenes), flush=True)


def seam_row(name: str, pictures: np.ndarray, true: np.ndarray, anew: Tensor, scenes: Sequence[Scene]) -> str:
    """A line of the table of one stage, whose right columns are `anew`."""
    edge = int(anew[0].int().argmax())
    across, elsewhere = steps_between_columns(pictures, edge)
    more = across - steps_between_columns(true, edge)[0]
    kept = int((pictures != true)[:, ~anew.numpy()].sum())
    step = shown(jackknife_mean(across).interval, 2)
    excess = "–" if name == "true pictures" else shown(jackknife_mean(more).interval, 2, "+")
    differ = f"{kept:,}" if name.startswith("resample") else "–"
    right = share([check(picture, scene.description) for picture, scene in zip(pictures, scenes, strict=True)])
    return f"| {name} | {step} | {excess} | {elsewhere.mean():.2f} | {differ} | {right} |"


def steps_between_columns(pictures: np.ndarray, edge: int) -> tuple[Tensor, Tensor]:
    """Of each picture the mean absolute step in grey levels from column `edge` - 1 to `edge`, and that from any other
    column to the next."""
    steps = torch.from_numpy(np.abs(np.diff(pictures.astype(np.float64), axis=2)).mean(axis=(1, 3)))
    others = torch.cat([steps[:, : edge - 1], steps[:, edge:]], dim=1)
    return steps[:, edge - 1], others.mean(dim=1)


def sizes(bench: Bench, count: int) -> None:
    """Prints a table: what the checker finds right in `count` pictures of each size, and in true ones of that size."""
    scenes = bench.scenes[:count]
    parts = ("background", "objects", "colours", "shapes", "relation")
    print(f"\n{count} pictures of each size\n| size | true pictures | all but `size` | {' | '.join(parts)} |")
    print("|---|---|---|" + "--:|" * len(parts))
    for size in SIZES:
        made = verdicts(list(to_uint8(bench.make([scene.caption for scene in scenes], size=size))), scenes)
        true = verdicts([framed(scene, size) for scene in scenes], scenes)
        stated = [[one.parts[part] for one in made if part in one.parts] for part in parts]
        cells = [f"{np.mean(answers):.2f}" if answers else "–" for answers in stated]
        print(f"| {size[0]} × {size[1]} | {share(true)} | {share(made)} | {' | '.join(cells)} |", flush=True)


def steering(bench: Bench, count: int) -> None:
    """Prints how large the largest object is, without and with a negative prompt that says large, on the same noise."""
    made = [bench.make([PLAIN], count=count, negative_prompt=words) for words in (None, NEGATIVE)]
    plain, steered = ([largest(picture) for picture in to_uint8(images)] for images in made)
    smaller = sum(after < before for before, after in zip(plain, steered, strict=True))
    print(f"\n{PLAIN}: mean radius {np.mean(plain):.3f} of the side; with the negative prompt {NEGATIVE}: ", end="")
    print(f"{np.mean(steered):.3f}, smaller in {smaller} of {count}")


def largest(picture: np.ndarray) -> float:
    """The radius of the largest object as a share of the side; 0 if there is none."""
    return max((item.radius for item in observe(picture).objects), default=0.0)


def verdicts(pictures: Sequence[np.ndarray], scenes: Sequence[Scene]) -> list[Verdict]:
    """Of pictures of any shape, without the part `size`: small and large are shares of the side of a square."""
    every = [check(squared(picture), scene.description) for picture, scene in zip(pictures, scenes, strict=True)]
    return [replace(one, parts={part: right for part, right in one.parts.items() if part != "size"}) for one in every]


def squared(picture: np.ndarray) -> np.ndarray:
    """A square around the picture, since the checker reads nothing else: its border is repeated outwards, so that a
    border which is not flat stays so."""
    height, width = picture.shape[:2]
    side = max(height, width)
    rows, columns = ((side - length) // 2 for length in (height, width))
    return np.pad(picture, ((rows, side - height - rows), (columns, side - width - columns), (0, 0)), mode="edge")


def framed(scene: Scene, size: Size) -> np.ndarray:
    """A true picture of `size`: the scene as large as it fits in, amid its background."""
    side = min(size)
    canvas = np.full((*size, 3), scene.background_rgb, dtype=np.uint8)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    canvas[top : top + side, left : left + side] = draw(scene, side)
    return canvas


def share(answers: Sequence[Verdict]) -> str:
    return shown(wilson(sum(one.all_correct for one in answers), len(answers)), 3)


def shown(interval: Interval, digits: int, sign: str = "") -> str:
    low, middle, high = (f"{x:{sign}.{digits}f}" for x in (interval.low, interval.estimate, interval.high))
    return f"{middle} [{low}, {high}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, help="the PNG to draw")
    parser.add_argument(
        "--count", type=int, default=256, help="scenes of inpainting; half of them in each size, an eighth steered"
    )
    options = parser.parse_args()
    prepare_environment()
    torch.set_num_threads(1)
    bench = Bench(options.count)
    save_png(Page(bench.model, SIZES).draw(), options.picture, {"seed": 0})
    inpainting(bench)
    sizes(bench, options.count // 2)
    steering(bench, options.count // 8)


if __name__ == "__main__":
    main()
