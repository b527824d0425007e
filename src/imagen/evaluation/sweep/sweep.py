"""The sweep: samples every cell on the same noise, block by block, and judges each picture once.

A cell is one way to sample: a curve at a guidance weight. Picture i has prompt i, and its noise depends on (seed, i)
alone, so cells differ only in the way of sampling (common random numbers).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
from torch import Tensor

from imagen.data.pixels import as_pixels
from imagen.evaluation.judges.answerer import Answerer
from imagen.evaluation.judges.checker import Checker
from imagen.evaluation.judges.extractor import AlignmentJudge, Extractor, Judge, cosines
from imagen.evaluation.prompts.prompt_set import Prompt, PromptSet
from imagen.evaluation.sweep.blocks import Block, BlockStore, join
from imagen.evaluation.sweep.thumbnails import thumbnails
from imagen.evaluation.sweep.timing import Timed, timings
from imagen.progress import track
from imagen.tensors import Pixels


@dataclass(frozen=True)
class Panel:
    """The judges that have features, the checker, and the judges that answer questions, which have none."""

    judges: Sequence[Extractor]
    checker: Checker
    answerers: Sequence[Answerer] = ()

    @property
    def everyone(self) -> list[Judge]:
        """All judges."""
        return [*self.judges, *self.answerers]

    @cached_property
    def aligners(self) -> dict[str, AlignmentJudge]:
        """The judges that read captions, by name."""
        return {judge.name: judge for judge in self.judges if isinstance(judge, AlignmentJudge)}

    def look(self, pixels: Pixels, prompts: Sequence[Prompt], keep: int) -> Block:
        """Features, cosines, answers, verdicts and thumbnails of the pictures, and the first `keep` pictures
        themselves."""
        features = {judge.name: judge.image_features(pixels) for judge in self.judges}
        texts, questions = [prompt.text for prompt in prompts], [prompt.questions for prompt in prompts]
        return Block(
            features=features,
            cosines={
                name: cosines(features[name], judge.text_features(texts)) for name, judge in self.aligners.items()
            },
            verdicts=self.checker(pixels, prompts),
            pictures=pixels[:keep].clone(),
            resolution=pixels.shape[1],
            thumbnails=thumbnails(pixels),
            scores={judge.name: judge.caption_scores(pixels, texts) for judge in self.answerers},
            answers={judge.name: judge.answers(pixels, questions) for judge in self.answerers},
        )


@dataclass
class Stopwatch:
    """Seconds spent on sampling, and the numbers of pictures made and reused in this run."""

    sampling: float = 0.0
    pictures: int = 0
    reused: int = 0


@dataclass(frozen=True)
class Job:
    """A cell or control: `make` gives its pictures from captions and picture ids; `settings` are everything `make`
    depends on that differs within the sweep. `drawn`: made without a network, so its time is not sampling time."""

    make: Callable[[list[str], list[int]], Tensor | np.ndarray | Timed]
    settings: Mapping[str, Any]
    drawn: bool = False


class Sweep:
    """Makes the missing blocks and returns the cells. `keep`: number of first pictures kept for grids."""

    def __init__(self, panel: Panel, prompts: PromptSet, store: BlockStore, block_size: int, keep: int) -> None:
        self.panel = panel
        self.prompts = prompts
        self.store = store
        self.block_size = block_size
        self.keep = keep
        self.stopwatch = Stopwatch()

    def run(self, jobs: Mapping[str, Job], description: str, count: int | None = None) -> dict[str, Block]:
        """For each cell name, one block with its pictures of the first `count` prompts (all by default).

        Blocks that another process is making are awaited at the end. If that process is killed, they are made here.
        """
        count = len(self.prompts) if count is None else count
        starts = range(0, count, self.block_size)
        todo = [(name, start) for name in jobs for start in starts]
        ids = {start: range(start, min(start + self.block_size, count)) for start in starts}
        done: dict[tuple[str, int], Block] = {}
        for name, start in track(todo, description, len(todo)):
            block = self._block(name, ids[start], jobs[name], wait=False)
            if block is not None:
                done[name, start] = block
        for name, start in [key for key in todo if key not in done]:
            block = self._block(name, ids[start], jobs[name], wait=True)
            assert block is not None, "waited for, so made by somebody"
            done[name, start] = block
        return {name: join([done[name, start] for start in starts]) for name in jobs}

    def _block(self, name: str, ids: range, job: Job, wait: bool) -> Block | None:
        """The block, made if it is missing; None if another process is making it and `wait` is false."""
        index = ids.start // self.block_size
        content = self._content(ids, job)
        with self.store.hold(name, index, wait) as held:
            if not held:
                return None
            block = self.store.load(name, index, content)
            if block is None:
                self.store.save(name, index, content, self._made(name, index, ids, job))
                # Read back as in a later run, down to the order of keys, so that equal results give equal files.
                block = self.store.load(name, index, content)
                assert block is not None, f"{self.store.path(name, index)} cannot be read back"
            else:
                self.stopwatch.reused += len(ids)
        return block

    def _content(self, ids: range, job: Job) -> dict[str, Any]:
        texts = self.prompts.texts[ids.start : ids.stop]
        content = {"ids": list(ids), "prompts": texts, "keep": self._kept(ids), "settings": dict(job.settings)}
        questions = [prompt.questions for prompt in self.prompts.prompts[ids.start : ids.stop]]
        if self.panel.answerers and any(questions):
            content["questions"] = [[[one.text, one.answer] for one in asked] for asked in questions]
        return content

    def _kept(self, ids: range) -> int:
        return max(0, min(self.keep - ids.start, len(ids)))

    def _made(self, name: str, index: int, ids: range, job: Job) -> Block:
        """Make the block. If it was the short last block of fewer prompts, only the missing pictures are made."""
        stored = self.store.count(name, index)
        known = ids[:stored] if 0 < stored < len(ids) else ids[:0]
        beginning = self.store.load(name, index, self._content(known, job)) if known else None
        if beginning is None:
            return self._make(job, ids)
        self.stopwatch.reused += len(known)
        return join([beginning, self._make(job, ids[len(known) :])])

    def _make(self, job: Job, ids: range) -> Block:
        prompts = self.prompts.prompts[ids.start : ids.stop]
        started = perf_counter()
        made = job.make([prompt.text for prompt in prompts], list(ids))
        pixels = as_pixels(made.pictures if isinstance(made, Timed) else made)
        seconds = perf_counter() - started
        if len(pixels) != len(ids):
            raise AssertionError(f"the sampler gave {len(pixels)} pictures for {len(ids)} prompts")
        block = self.panel.look(pixels, prompts, self._kept(ids))
        if not job.drawn:
            self.stopwatch.sampling += seconds
            known = (made.seconds, made.device) if isinstance(made, Timed) else (seconds, None)
            block = replace(block, timings=timings(*known, len(ids)))
        self.stopwatch.pictures += len(ids)
        return block
