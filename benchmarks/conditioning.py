"""What an outline and a caption tell a stage of experiment=shapes_from_outlines: held-out scenes, read by the checker.

python benchmarks/conditioning.py runs/base/from_outlines/export docs/images/from_outlines.png    # 256 scenes
"""

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from imagen.cascade.settings import SamplingSettings
from imagen.data.pixels import from_uint8, to_uint8
from imagen.diffusion.conditioning import Conditioning, ImageSignal, TextSignal
from imagen.diffusion.guidance import PerSignalGuidance
from imagen.evaluation.statistics.jackknife import wilson
from imagen.pictures import labelled_grid, save_png
from imagen.sampling.settings import SAMPLER, THRESHOLDING
from imagen.sampling.text_to_image import TextToImage
from imagen.shapes import Observation, Scene, check, observe, outline, sample_scene

COUNT, BATCH, SHOWN = 256, 64, 8
WEIGHTS = (1.0, 2.0, 4.0)
TABLE_WEIGHTS = (1.0, 2.0)
"""Of picture and text in the table of what is told."""

NEAR = 0.05
"""Of the side of the picture: how far the centre of an object may lie from where the outline has it."""


class Bench:
    """A stage, held-out scenes, and what it can be told of them."""

    def __init__(self, export: str) -> None:
        self.model = TextToImage.load(export, device="cpu")
        side = self.model.stages[0].resolution
        self.scenes = [sample_scene(0, index, "held_out") for index in range(COUNT)]
        self.outlines = np.stack([outline(scene, side) for scene in self.scenes])
        values, mask = self.model.text.embed([scene.caption for scene in self.scenes]).pad()
        self.told = Conditioning(text=TextSignal(values, mask), condition=ImageSignal(from_uint8(self.outlines)))

    def pictures(self, told: Conditioning, weights: tuple[float, float]) -> np.ndarray:
        """One picture of each scene, uint8; the same noise whatever is told."""
        guidance = PerSignalGuidance(dict(zip(("condition", "text"), weights, strict=True)))
        settings = [SamplingSettings(SAMPLER, guidance, THRESHOLDING)]
        made = []
        for start in range(0, COUNT, BATCH):
            rows = range(start, min(start + BATCH, COUNT))
            (images,) = self.model.cascade.sample(told.take(rows), 0, rows, settings)
            made.append(images)
        return to_uint8(torch.cat(made))


def main(export: str, picture: str) -> None:
    bench = Bench(export)
    told = {
        "outline and caption": bench.told,
        "caption alone": bench.told.without("condition"),
        "outline alone": bench.told.without("text"),
    }
    made = {name: bench.pictures(signals, TABLE_WEIGHTS) for name, signals in told.items()}
    tables = {name: accuracy(pictures, bench.scenes) for name, pictures in made.items()}
    print(f"weights {TABLE_WEIGHTS} of picture and text\n| part | {' | '.join(tables)} |")
    for part in next(iter(tables.values())):
        print(f"| {part} | {' | '.join(table[part] for table in tables.values())} |")
    save_grid(bench, made, Path(picture))
    print("\nall parts right, and placed as in the outline: weight of the picture down, of the text across")
    print(f"| | {' | '.join(f'{weight:g}' for weight in WEIGHTS)} |")
    for down in WEIGHTS:
        cells = [accuracy(bench.pictures(bench.told, (down, across)), bench.scenes) for across in WEIGHTS]
        shown = [f"{cell['all']}; {cell['placed']}" for cell in cells]
        print(f"| {down:g} | {' | '.join(shown)} |", flush=True)


def accuracy(pictures: np.ndarray, scenes: list[Scene]) -> dict[str, str]:
    """The share of pictures in which each part of the caption holds, with Wilson's 95 % interval; `placed`: there is an
    object at each place of the scene, and no other."""
    answers: dict[str, list[bool]] = defaultdict(list)
    for picture, scene in zip(pictures, scenes, strict=True):
        verdict = check(picture, scene.description)
        for part, right in {"all": verdict.all_correct, **verdict.parts}.items():
            answers[part].append(right)
        answers["placed"].append(placed(observe(picture), scene))
    rates = {part: wilson(sum(right), len(right)) for part, right in answers.items()}
    return {part: f"{rate.estimate:.3f} [{rate.low:.3f}, {rate.high:.3f}]" for part, rate in rates.items()}


def placed(seen: Observation, scene: Scene) -> bool:
    places = [(item.x, item.y) for item in scene.objects]
    found = {np.hypot(*(np.subtract(places, (item.x, item.y)).T)).argmin() for item in seen.objects}
    near = [np.hypot(*(np.subtract(places, (item.x, item.y)).T)).min() < NEAR for item in seen.objects]
    return len(seen.objects) == len(found) == len(places) and all(near)


def save_grid(bench: Bench, made: dict[str, np.ndarray], path: Path) -> None:
    columns = {"outline": bench.outlines, **made}
    rows = [[pictures[row] for pictures in columns.values()] for row in range(SHOWN)]
    grid = labelled_grid(rows, [scene.caption for scene in bench.scenes[:SHOWN]], list(columns))
    save_png(grid, path, {"seed": 0, "weights": list(TABLE_WEIGHTS)})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
