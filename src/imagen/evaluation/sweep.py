"""The sweep: every cell on the same noise, block by block, each picture looked at once.

A cell is one way to sample: a guidance weight and a thresholding. Picture i has prompt i and its noise depends on
(seed, i) alone, so cells differ by nothing but the way of sampling (common random numbers).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from imagen.errors import UserError
from imagen.evaluation.arrays import Pixels, as_pixels
from imagen.evaluation.blocks import Block, BlockStore, join
from imagen.evaluation.checker import Checker
from imagen.evaluation.features import AlignmentJudge, Extractor, cosines
from imagen.evaluation.prompts import Prompt, PromptSet
from imagen.progress import track


@runtime_checkable
class SamplerFunction(Protocol):
    """A cascade as the sweep sees it. `picture_ids[i]` (with the seed the cascade was given) decides all noise of
    picture i, whatever else is in the batch. `thresholding` is one of the objects the evaluation was given."""

    def __call__(
        self, captions: list[str], picture_ids: list[int], guidance_weight: float, thresholding: Any
    ) -> Tensor | np.ndarray: ...


@dataclass(frozen=True)
class Cell:
    """One point of a curve. `thresholding` is the curve's label."""

    thresholding: str
    guidance_weight: float

    @property
    def name(self) -> str:
        """A folder name, different for different cells."""
        return f"{self.thresholding}-w{self.guidance_weight!r}"


@dataclass(frozen=True)
class Panel:
    """Everyone who looks at the pictures."""

    judges: Sequence[Extractor]
    checker: Checker

    def look(self, pixels: Pixels, prompts: Sequence[Prompt], keep: int) -> Block:
        """Features, cosines and verdicts of the pictures; the first `keep` of them stay."""
        features = {judge.name: judge.image_features(pixels) for judge in self.judges}
        texts = [prompt.text for prompt in prompts]
        return Block(
            features=features,
            cosines={
                judge.name: cosines(features[judge.name], judge.text_features(texts))
                for judge in self.judges
                if isinstance(judge, AlignmentJudge)
            },
            verdicts=self.checker(pixels, prompts),
            pictures=pixels[:keep].clone(),
            resolution=pixels.shape[1],
        )


@dataclass
class Stopwatch:
    """Seconds spent making pictures and looking at them, and how many were made in this run."""

    sampling: float = 0.0
    looking: float = 0.0
    pictures: int = 0
    reused: int = 0

    @property
    def share_looking(self) -> float:
        """The part of the time that the networks of the cascade did not work, 0 to 1."""
        total = self.sampling + self.looking
        return self.looking / total if total else 0.0


@dataclass(frozen=True)
class Job:
    """How the pictures of a cell (or control) are made from captions and picture ids, and all that `make` depends on
    that is not the same for the whole sweep."""

    make: Callable[[list[str], list[int]], Tensor | np.ndarray]
    settings: Mapping[str, Any]


class Sweep:
    """Makes the blocks that are not there yet and gives back the cells. `keep`: pictures kept for grids, from the
    first."""

    def __init__(self, panel: Panel, prompts: PromptSet, store: BlockStore, block_size: int, keep: int) -> None:
        if block_size < 1:
            raise UserError(f"block_size is {block_size}; it must be at least 1")
        self.panel = panel
        self.prompts = prompts
        self.store = store
        self.keep = keep
        self.ranges = [
            range(start, min(start + block_size, len(prompts))) for start in range(0, len(prompts), block_size)
        ]
        self.stopwatch = Stopwatch()

    def run(self, jobs: Mapping[str, Job], description: str) -> dict[str, Block]:
        """By the name of the cell: one block of all its pictures.

        Blocks that another process is making are left to it and waited for at the end; should it be killed, they are
        made here.
        """
        todo = [(name, index) for name in jobs for index in range(len(self.ranges))]
        done: dict[tuple[str, int], Block] = {}
        for name, index in track(todo, description, len(todo)):
            block = self._block(name, index, jobs[name], wait=False)
            if block is not None:
                done[name, index] = block
        for name, index in [key for key in todo if key not in done]:
            done[name, index] = self._block(name, index, jobs[name], wait=True)
        return {name: join([done[name, index] for index in range(len(self.ranges))]) for name in jobs}

    def _block(self, name: str, index: int, job: Job, wait: bool) -> Block | None:
        """The block, made if need be; None when another process is making it and `wait` is false."""
        ids = list(self.ranges[index])
        prompts = [self.prompts.prompts[i] for i in ids]
        keep = max(0, min(self.keep - ids[0], len(ids)))
        texts = [prompt.text for prompt in prompts]
        content = {"ids": ids, "prompts": texts, "keep": keep, "settings": dict(job.settings)}
        with self.store.hold(name, index, wait) as held:
            if not held:
                return None
            block = self.store.load(name, index, content)
            if block is None:
                self.store.save(name, index, content, self._make(job, prompts, ids, keep))
                # As a later run reads it, down to the order of keys: equal results are equal files.
                block = self.store.load(name, index, content)
                assert block is not None, f"{self.store.path(name, index)} cannot be read back"
            else:
                self.stopwatch.reused += len(ids)
        return block

    def _make(self, job: Job, prompts: Sequence[Prompt], ids: list[int], keep: int) -> Block:
        started = time.perf_counter()
        pixels = as_pixels(job.make([prompt.text for prompt in prompts], ids))
        made = time.perf_counter()
        if len(pixels) != len(ids):
            raise AssertionError(f"the sampler gave {len(pixels)} pictures for {len(ids)} prompts")
        block = self.panel.look(pixels, prompts, keep)
        self.stopwatch.sampling += made - started
        self.stopwatch.looking += time.perf_counter() - made
        self.stopwatch.pictures += len(ids)
        return block


def check_weights(weights: Sequence[Any]) -> list[float]:
    """The weights as the user wrote them, ascending. Raises UserError unless there is at least one, all are finite, not
    negative and different."""
    if not weights:
        raise UserError("guidance.weights is empty; give at least one weight, e.g. [1, 3]")
    for weight in weights:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not isfinite(weight) or weight < 0:
            raise UserError(f"guidance weight {weight!r} is not a finite number of 0 or more (1 is no guidance)")
    values = sorted(float(weight) for weight in weights)
    for one, other in pairwise(values):
        if one == other:
            raise UserError(f"guidance weight {one:g} is given twice")
    return values


def shuffled(text_rows: Tensor) -> Tensor:
    """Each row replaced by the next: the captions of other pictures, a fixed permutation without fixed points."""
    return torch.roll(text_rows, -1, dims=0)
