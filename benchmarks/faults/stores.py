"""The cache of embedded captions and the blocks of an evaluation: killed builders, second builders, flipped bits."""

import json
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.faults.forks import FORK, files, in_child, killed_on_call, noticed_flips, start
from imagen.errors import UserError
from imagen.evaluation.evaluation import Evaluation
from imagen.evaluation.judges.checker import ShapesChecker
from imagen.evaluation.judges.extractor import Extractor
from imagen.evaluation.prompts.prompt_set import shapes_prompts
from imagen.evaluation.report import report
from imagen.evaluation.sweep.plan import Curve, Plan
from imagen.evaluation.sweep.reference import ShapesReference
from imagen.locks import only_builder
from imagen.text.cached import cache
from imagen.text.embeddings import TextEmbeddings
from imagen.text.encoders import TextEncoder
from imagen.text.sources import CachedText
from imagen.text.tokens import EncodingCounts

CAPTIONS = [f"picture {index} of many" for index in range(100)]
FINGERPRINT = {
    "model": "counts", "tokenizer": "words", "revision": "none", "max_length": 128, "dtype": "float32", "layer": -1,
}  # fmt: skip
# Seven shards for the hundred captions.
cache.CAPTIONS_PER_CHUNK, cache.CHUNKS_PER_SHARD = 5, 3


class CountingEncoder(TextEncoder):
    """Encodes a caption as one vector with its length."""

    features = 4
    settings = FINGERPRINT

    def __init__(self, **changes: object) -> None:
        self._fingerprint = FINGERPRINT | changes

    @property
    def fingerprint(self) -> dict:
        return self._fingerprint

    def __call__(self, captions: list[str]) -> TextEmbeddings:
        values = torch.tensor([[float(len(caption))] * self.features for caption in captions])
        return TextEmbeddings(values, (1,) * len(captions))

    def take_counts(self) -> EncodingCounts:
        return EncodingCounts(max_length=128)


def build(folder: Path, **changes: object) -> CachedText:
    source = CachedText(CountingEncoder(**changes), folder)
    source.prepare(CAPTIONS)
    return source


def killed_builders(folder: Path, trials: int) -> int:
    """At most the unfinished shard is encoded again, and the files equal those of an uninterrupted builder."""
    build(folder / "whole")
    wanted, draw, survived = files(folder / "whole"), random.Random(9), 0
    for trial in range(trials):
        place, nth = folder / str(trial), draw.randint(1, 14)
        code = in_child(lambda: (killed_on_call(Path, "replace", nth), build(place)))  # noqa: B023
        named = json.loads((place / "manifest.json").read_text())["shards"] if nth > 2 else []
        build(place)
        # Two files are renamed for each shard: the shard, and the manifest that lists it.
        survived += code == -signal.SIGKILL and len(named) == (nth - 1) // 2 and files(place) == wanted
    return survived


def second_builders(folder: Path, trials: int) -> int:
    """A second builder is refused within 2 s; the error names the process of the first."""
    survived = 0
    for trial in range(trials):
        place, held = folder / str(trial), FORK.Event()

        def hold(place=place, held=held) -> None:
            with only_builder(place):
                held.set()
                signal.pause()

        first = start(hold)
        held.wait()
        begun = time.monotonic()
        try:
            build(place)
        except UserError as error:
            survived += f"process {first.pid} on " in str(error) and time.monotonic() - begun < 2
        first.kill()
        first.join()
    return survived


def flipped_shards(folder: Path, trials: int) -> int:
    build(folder)
    return noticed_flips(sorted(folder.glob("shard-*")), trials, lambda: build(folder), UserError)


def stale_caches(folder: Path, trials: int) -> int:
    """Eight fields are changed, one at a time: the cache is refused with both values. A moved cache stays valid."""
    build(folder / "old")
    (folder / "old").rename(folder / "moved")
    manifest = json.loads((folder / "moved" / "manifest.json").read_text())
    fields = [*FINGERPRINT, "a field of a later version", "format"][:trials]
    survived = 0
    for field in fields:
        build(folder / "moved")
        changed = dict(manifest)
        if field == "format":
            changed["format"] = 99
        else:
            changed["fingerprint"] = manifest["fingerprint"] | {field: "other"}
        (folder / "moved" / "manifest.json").write_text(json.dumps(changed))
        try:
            build(folder / "moved")
        except UserError as error:
            found = "99, this version reads 1" if field == "format" else f"{field}: cache other, configuration "
            survived += found in str(error)
        (folder / "moved" / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return survived


class MeanColour(Extractor):
    """A judge without a network."""

    name, fidelity_key, identity = "colour", "fd[colour]", {"class": "mean colour"}

    def image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float().mean(dim=(1, 2)) / 255


def sweep(folder: Path, dies_at: int | None = None) -> None:
    """Sweep twelve cells of two blocks each; the process dies after `dies_at` blocks."""
    prompts, made = shapes_prompts(count=8, seed=5), iter(range(1000))

    def sample(captions, picture_ids, guidance_weight):
        if next(made) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.stack([prompts.draw_truth(i, 16) for i in picture_ids])

    def only_numbers(results, out):
        report.write_json(report.as_json(results), out / "results.json")
        report.write_text(report.as_csv(results), out / "sweep.csv")

    report.write_report = only_numbers
    weights = [1 + step / 4 for step in range(12)]
    plan = Plan({"drawn": Curve(sample, {"class": "drawn"})}, weights)
    Evaluation(
        [MeanColour()], ShapesChecker(), prompts, ShapesReference(20, 77), folder, block_size=4, seed=0, grid_prompts=2
    ).run(plan)


def killed_sweeps(folder: Path, trials: int) -> int:
    """One sweep of 12 cells, killed `trials` times: 12 cells, no duplicate row, the bytes of an uninterrupted sweep."""
    assert in_child(lambda: sweep(folder / "whole")) == 0
    draw, killed = random.Random(14), 0
    for _ in range(trials):
        killed += in_child(lambda: sweep(folder / "killed", draw.randint(0, 2))) == -signal.SIGKILL
    finished = in_child(lambda: sweep(folder / "killed")) == 0
    one, other = (
        {file: data for file, data in files(folder / name).items() if not file.startswith(("timing", "locks"))}
        for name in ("whole", "killed")
    )
    rows = (folder / "killed" / "sweep.csv").read_text().splitlines()
    cells = {tuple(row.split(",")[1:3]) for row in rows if row.startswith("cell,")}
    return killed if finished and one == other and len(cells) == 12 and len(rows) == len(set(rows)) else 0
