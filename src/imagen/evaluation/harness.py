"""The evaluation as one object: what is configured, and `run`."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imagen.data.shapes import draw
from imagen.data.shapes.checking import CATEGORIES
from imagen.errors import UserError
from imagen.evaluation.arrays import Pixels, fingerprint
from imagen.evaluation.blocks import Block, BlockStore
from imagen.evaluation.checker import Checker
from imagen.evaluation.features import AlignmentJudge, Extractor
from imagen.evaluation.lock import hold
from imagen.evaluation.prompts import PromptSet
from imagen.evaluation.reference import Reference, reference_features
from imagen.evaluation.results import GROUND_TRUTH, NOISE, SHUFFLED, CellResult, Results, noise_pictures, steps
from imagen.evaluation.summary import Summary
from imagen.evaluation.sweep import Cell, Job, Panel, SamplerFunction, Sweep, check_weights


class Evaluation:
    """Guidance weights × thresholdings, on the same prompts and noise, looked at by judges and a checker.

    Args:
        judges: extractors, at least one (keys do not matter). Those that read captions also measure alignment.
        checker: reads pictures of the shapes world; `NoChecker()` for other prompts.
        prompts: picture i shows prompt i.
        weights: guidance weights, 1 is no guidance; finite, not negative, all different.
        thresholdings: label to object, one curve for each.
        reference: the real pictures of the Fréchet distances.
        out: folder of the block files and the report. A run that is started again there goes on where it stopped;
            several processes that run there share the work.
        block_size: pictures between two saves.
        seed: of the noise control, and part of the fingerprint; the cascade gets the same.
        grid_prompts: how many prompts the picture grids show.

    Raises UserError for weights, judges or sizes that cannot be right.
    """

    def __init__(
        self,
        judges: Mapping[str, Extractor] | Sequence[Extractor],
        checker: Checker,
        prompts: PromptSet,
        weights: Sequence[Any],
        thresholdings: Mapping[str, Any],
        reference: Reference,
        out: str | Path,
        block_size: int,
        seed: int,
        grid_prompts: int,
    ) -> None:
        self.panel = Panel(_distinct(judges), checker)
        self.prompts = prompts
        self.thresholdings = dict(thresholdings)
        if not self.thresholdings:
            raise UserError("guidance.thresholdings is empty; give at least one, e.g. dynamic")
        weights = check_weights(list(weights))
        self.cells = [Cell(label, weight) for label in self.thresholdings for weight in weights]
        self.reference = reference
        self.out = Path(out)
        self.block_size = block_size
        self.seed = seed
        self.grid_prompts = grid_prompts

    def run(self, sampler_fn: SamplerFunction, cascade_fingerprint: str | Mapping[str, Any]) -> Results:
        """Make what is not there yet, compute every number, write the report to `out`.

        `cascade_fingerprint` is all that the pictures depend on besides prompt, seed, weight and thresholding: weights
        of the stages, samplers, steps, the guidance of later stages. Raises AssertionError, after the report is
        written, when torchmetrics or torch-fidelity compute another number from the same features.
        """
        from imagen.evaluation.report import write_report

        started = time.perf_counter()
        identity = self.identity(cascade_fingerprint)
        sweep = self._sweep(identity)
        blocks = sweep.run({cell.name: self._job(sampler_fn, cell) for cell in self.cells}, "sweep")
        sampling = sweep.stopwatch.sampling
        resolution = blocks[self.cells[0].name].resolution
        controls = sweep.run(self._controls(resolution), "controls")
        with hold(self.out / "locks" / "reference", wait=True):
            features = reference_features(self.reference, self.panel.judges, resolution, self.out / "reference")
        results = self._results(Summary(self.panel.judges, self.prompts, features), blocks, controls, identity)
        with hold(self.out / "locks" / "report", wait=True):
            write_report(results, self.out)
            self._write_timing(sweep, sampling, time.perf_counter() - started)
        _insist_on_agreement(results)
        return results

    def identity(self, cascade_fingerprint: str | Mapping[str, Any]) -> dict[str, Any]:
        """All that the numbers of a cell depend on, but its prompts, weight and thresholding."""
        cascade = cascade_fingerprint if isinstance(cascade_fingerprint, str) else dict(cascade_fingerprint)
        return {
            "cascade": cascade,
            "seed": self.seed,
            "prompts": dict(self.prompts.identity),
            "judges": {judge.name: judge.identity for judge in self.panel.judges},
            "checker": dict(self.panel.checker.identity),
        }

    def _sweep(self, identity: Mapping[str, Any]) -> Sweep:
        store = BlockStore(self.out / "blocks", identity)
        return Sweep(self.panel, self.prompts, store, self.block_size, self.grid_prompts)

    def _job(self, sampler_fn: SamplerFunction, cell: Cell) -> Job:
        thresholding = self.thresholdings[cell.thresholding]
        make = partial(sampler_fn, guidance_weight=cell.guidance_weight, thresholding=thresholding)
        return Job(make, {"guidance_weight": cell.guidance_weight, "thresholding": describe(thresholding)})

    def _controls(self, resolution: int) -> dict[str, Job]:
        def noise(captions: list[str], picture_ids: list[int]) -> Pixels:
            return noise_pictures(self.seed, picture_ids, resolution)

        def ground_truth(captions: list[str], picture_ids: list[int]) -> np.ndarray:
            return np.stack([draw(self.prompts.prompts[i].scene, resolution) for i in picture_ids])

        settings = {"resolution": resolution}
        truth = {GROUND_TRUTH: Job(ground_truth, settings)} if self.prompts.have_scenes else {}
        return {NOISE: Job(noise, settings), **truth}

    def _results(
        self, summary: Summary, blocks: Mapping[str, Block], controls: Mapping[str, Block], identity: Mapping[str, Any]
    ) -> Results:
        count = len(self.prompts)
        ways = {label: describe(how) for label, how in self.thresholdings.items()}
        reference = dict(self.reference.identity)
        framed = {name: summary.measure(block).values for name, block in controls.items()}
        # With other captions: of the real pictures where there are any, else of the first cell's.
        framed[SHUFFLED] = summary.shuffled_alignment(controls.get(GROUND_TRUTH, blocks[self.cells[0].name]))
        measured = {cell: summary.measure(blocks[cell.name]) for cell in self.cells}
        return Results(
            cells=[CellResult(cell, count, found.values, found.intervals) for cell, found in measured.items()],
            controls=framed,
            steps=steps(measured),
            audits=summary.audits({cell: blocks[cell.name] for cell in self.cells}),
            judges=self.panel.judges,
            texts=self.prompts.texts,
            pictures={name: block.pictures for name, block in {**blocks, **controls}.items()},
            facts={
                "fingerprint": fingerprint({**identity, "thresholdings": ways, "reference": reference, "count": count}),
                "pictures_per_cell": count,
                "resolution": blocks[self.cells[0].name].resolution,
                "samples_per_dimension": summary.samples_per_dimension(count),
                "pictures_for_interval": summary.pictures_for_interval(),
                "truncated_captions": {
                    judge.name: judge.truncated_share(self.prompts.texts)
                    for judge in self.panel.judges
                    if isinstance(judge, AlignmentJudge)
                },
                "reference": reference,
                "thresholdings": ways,
                "categories": [f"checker[{category.name}]" for category in CATEGORIES],
                **identity,
            },
        )

    def _write_timing(self, sweep: Sweep, sampling: float, total: float) -> None:
        from imagen.evaluation.report import write_json

        watch = sweep.stopwatch
        timing = {
            "seconds": round(total, 2),
            "seconds_sampling": round(sampling, 2),
            "share_not_sampling": round(1 - sampling / total, 4),
            "pictures_made": watch.pictures,
            "pictures_reused": watch.reused,
            "threads": torch.get_num_threads(),
        }
        write_json(timing, self.out / "timing.json")


def describe(how: Any) -> dict[str, Any]:
    """An object by its class and its settings, for fingerprints."""
    settings = asdict(how) if is_dataclass(how) else {k: v for k, v in vars(how).items() if not k.startswith("_")}
    return {"class": type(how).__qualname__, **settings}


def _distinct(judges: Mapping[str, Extractor] | Sequence[Extractor]) -> list[Extractor]:
    judges = list(judges.values()) if isinstance(judges, Mapping) else list(judges)
    names = [judge.name for judge in judges]
    if not names:
        raise UserError("metrics.judges is empty; give at least one judge")
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two judges are called '{name}'; give each its own name")
    return judges


def _insist_on_agreement(results: Results) -> None:
    wrong = [audit for audit in results.audits if not audit.agrees]
    assert not wrong, f"{len(wrong)} numbers differ between calculators (report.md, Audit), the first: {wrong[0]}"
