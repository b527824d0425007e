"""The evaluation as one object: its configuration, `make` and `report`."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imagen.checks.names import is_name
from imagen.errors import UserError
from imagen.evaluation.judges.answerer import Answerer
from imagen.evaluation.judges.checker import Checker
from imagen.evaluation.judges.extractor import Extractor, Judge
from imagen.evaluation.judges.metric import checker_key
from imagen.evaluation.prompts.prompt_set import PromptSet
from imagen.evaluation.results.budget import Budget, Spending, spend
from imagen.evaluation.results.copies import Copies, TrainingSet
from imagen.evaluation.results.cost import Cost
from imagen.evaluation.results.neighbours import Comparison
from imagen.evaluation.results.results import GROUND_TRUTH, NOISE, SHUFFLED, CellResult, Results
from imagen.evaluation.results.summary import Summary
from imagen.evaluation.sweep.blocks import Block, BlockStore
from imagen.evaluation.sweep.controls import noise_pictures
from imagen.evaluation.sweep.plan import Cell, Plan, middle_and_ends
from imagen.evaluation.sweep.reference import Reference, reference_features
from imagen.evaluation.sweep.sweep import Job, Panel, Stopwatch, Sweep
from imagen.files import fingerprint, user_path
from imagen.locks import hold
from imagen.tensors import Features, Pixels


class Evaluation:
    """Curves × guidance weights on the same prompts and noise, measured by judges and a checker.

    Args:
        judges: at least one that has features (the keys do not matter). Judges that read captions also measure
            alignment, judges that answer questions VQAScore and Soft-TIFA.
        checker: checks what a procedure can read off a picture; `NoChecker()` for prompts without such a procedure.
        prompts: picture i shows prompt i.
        reference: the real pictures for the Fréchet distances.
        out: folder of the block files and the report. A run that is started again there resumes; several processes
            that run there share the work.
        block_size: pictures per block file.
        seed: of the noise control, and part of the fingerprint; the cascade gets the same seed.
        grid_prompts: number of prompts in the picture grids.
        budget: adds pictures for neighbours that a first pass does not separate; None: all prompts in all cells.
        training: the training pictures, to look for copies of them; None: nobody looks.

    Raises UserError for invalid judges or sizes.
    """

    def __init__(
        self,
        judges: Mapping[str, Any] | Sequence[Any],
        checker: Checker,
        prompts: PromptSet,
        reference: Reference,
        out: str | Path,
        block_size: int,
        seed: int,
        grid_prompts: int,
        budget: Budget | None = None,
        training: Reference | None = None,
    ) -> None:
        if block_size < 1:
            raise UserError(f"block_size is {block_size}; it must be at least 1")
        if budget and prompts.repeats > 1:
            raise UserError(f"a budget adds prompts, so it cannot be with pictures_per_prompt={prompts.repeats}")
        self.panel = _panel(judges, checker)
        self.all_prompts = prompts
        self.count = budget.first_count(len(prompts), block_size) if budget else len(prompts)
        self.prompts = prompts.first(self.count)
        self.reference = reference
        self.out = user_path(out)
        self.block_size = block_size
        self.seed = seed
        self.grid_prompts = grid_prompts
        self.budget = budget
        self.training = training

    def run(self, plan: Plan) -> Results:
        """`make`, then `report`."""
        return self.report(plan, self.make(plan))

    def report(self, plan: Plan, made: "Made") -> Results:
        """Compute every number and write the report to `out`.

        Raises AssertionError, after the report is written, if torchmetrics or torch-fidelity compute a different number
        from the same features.
        """
        from imagen.evaluation.report.report import write_report

        results = self._results(plan, made)
        with hold(self.out / "locks" / "report", wait=True):
            write_report(results, self.out)
            self._write_timing(made.stopwatch, time.perf_counter() - made.started)
        _insist_on_agreement(results)
        return results

    def make(self, plan: Plan) -> "Made":
        """Make the missing pictures but no report. A process that only helps another one calls just this."""
        started = time.perf_counter()
        sweep = self._sweep()
        jobs = {cell.name: self._job(plan, cell) for cell in plan.cells}
        # The reference comes before the sweep, because its pictures may be missing, damaged or too small.
        resolution = self._first_block(sweep, plan, jobs).resolution
        with hold(self.out / "locks" / "reference", wait=True):
            features = reference_features(self.reference, self.panel.judges, resolution, self.out / "reference")
            training = self._training_set(resolution)
        blocks = sweep.run(jobs, "sweep", self.count)
        cells = {cell: blocks[cell.name] for cell in plan.cells}
        controls = sweep.run(self._controls(resolution), "controls", self.count)

        def extend(chosen: list[Cell], count: int) -> dict[Cell, Block]:
            longer = sweep.run({cell.name: jobs[cell.name] for cell in chosen}, "more pictures", count)
            return {cell: longer[cell.name] for cell in chosen}

        spending = None
        if self.budget:
            comparison = self._comparison(features)
            spending = spend(self.budget, cells, comparison, extend, len(self.all_prompts), self.block_size)
        return Made(cells, controls, features, training, spending, sweep.stopwatch, started)

    def _training_set(self, resolution: int) -> TrainingSet | None:
        return self.training and TrainingSet(self.training, self.reference, resolution, self.out / "reference")

    def _first_block(self, sweep: Sweep, plan: Plan, jobs: Mapping[str, Job]) -> Block:
        """The first block of the first cell; it gives the size of all pictures."""
        first = plan.cells[0].name
        block = sweep.run({first: jobs[first]}, "first pictures", min(self.block_size, self.count))[first]
        sweep.stopwatch.reused -= len(block)  # the sweep reads it again
        return block

    def identity(self) -> dict[str, Any]:
        """Everything that the numbers of a cell depend on, except its prompts, curve and weight."""
        return {
            "seed": self.seed,
            "prompts": dict(self.prompts.identity),
            "judges": {judge.name: judge.identity for judge in self.panel.everyone},
            "checker": dict(self.panel.checker.identity),
        }

    def captions_too_long(self) -> dict[str, int]:
        """By judge that reads captions, how many of those that every cell has are longer than it reads."""
        return {name: sum(judge.too_long(self.prompts.texts)) for name, judge in self.panel.aligners.items()}

    def _sweep(self) -> Sweep:
        store = BlockStore(self.out / "blocks", self.identity())
        return Sweep(self.panel, self.all_prompts, store, self.block_size, self.grid_prompts)

    def _job(self, plan: Plan, cell: Cell) -> Job:
        curve = plan.curves[cell.curve]
        make = partial(curve.sample, guidance_weight=cell.guidance_weight)
        return Job(make, {"guidance_weight": cell.guidance_weight, "curve": dict(curve.identity)})

    def _controls(self, resolution: int) -> dict[str, Job]:
        def noise(captions: list[str], picture_ids: list[int]) -> Pixels:
            return noise_pictures(self.seed, picture_ids, resolution)

        def ground_truth(captions: list[str], picture_ids: list[int]) -> np.ndarray:
            return np.stack([self.prompts.draw_truth(i, resolution) for i in picture_ids])

        settings = {"resolution": resolution}
        truth = {GROUND_TRUTH: Job(ground_truth, settings, drawn=True)} if self.prompts.have_truths else {}
        return {NOISE: Job(noise, settings, drawn=True), **truth}

    def _comparison(self, reference: Mapping[str, Features]) -> Comparison:
        return Comparison(Summary(self.panel, self.prompts, reference, self.all_prompts))

    def _results(self, plan: Plan, made: "Made") -> Results:
        # Not the comparison that spent the budget: fitting the reference must use as many threads as the rest.
        comparison = self._comparison(made.reference)
        summary = comparison.summary
        first = made.cells[plan.cells[0]]
        controls = {name: summary.measure(block) for name, block in made.controls.items()}
        framed = {name: control.values for name, control in controls.items()}
        # Shuffled captions: on the real pictures if there are any, else on those of the first cell.
        framed[SHUFFLED] = summary.shuffled_alignment(made.controls.get(GROUND_TRUTH, first))
        measured = {cell: comparison.measured(cell, block) for cell, block in made.cells.items()}
        costs = {cell: Cost.of(plan, cell, block.timings) for cell, block in made.cells.items()}
        longest = made.spending.cells if made.spending else made.cells
        kept = {cell.name: block.pictures for cell, block in made.cells.items()}
        return Results(
            cells=[CellResult.of(cell, self.count, measured[cell], costs[cell]) for cell in made.cells],
            controls=framed,
            control_intervals={name: control.intervals for name, control in controls.items()},
            steps=comparison.steps(longest),
            audits=summary.audits(made.cells),
            judges=self.panel.everyone,
            texts=self.prompts.texts,
            categories=[prompt.category for prompt in self.prompts.prompts],
            pictures={**kept, **{name: block.pictures for name, block in made.controls.items()}},
            facts=self._facts(plan, summary, first.resolution, made.spending),
            copies=self._copies(plan, made),
        )

    def _copies(self, plan: Plan, made: "Made") -> Copies | None:
        blocks = {cell.name: block for cell, block in made.cells.items()}
        shown = [Cell(label, w) for label in plan.curves for w in middle_and_ends(plan.weights_of(label))]
        names = [cell.name for cell in plan.cells if cell in shown]
        return made.training and made.training.compare(blocks, self.prompts.texts, names)

    def _facts(self, plan: Plan, summary: Summary, resolution: int, spending: Spending | None) -> dict[str, Any]:
        identity = self.identity()
        depends = {"curves": plan.identities, "reference": dict(self.reference.identity)}
        if self.training is not None:
            depends["training"] = dict(self.training.identity)
        return {
            "fingerprint": fingerprint({**identity, **depends, "count": self.count}),
            "pictures_per_cell": self.count,
            # Separate, because the identity of prompts names their file but not its content.
            "texts_sha256": fingerprint(self.prompts.texts),
            "resolution": resolution,
            "weight_of": plan.weight_of,
            "samples_per_dimension": summary.samples_per_dimension(self.count),
            "pictures_for_interval": summary.pictures_for_interval(),
            "captions_too_long": self.captions_too_long(),
            "taught_by": plan.taught_by(self.panel.everyone),
            "categories": [checker_key(name) for name in self.panel.checker.categories],
            **({"budget": spending.facts(self.budget)} if spending and self.budget else {}),
            **depends,
            **identity,
        }

    def _write_timing(self, watch: Stopwatch, total: float) -> None:
        from imagen.files import write_json

        timing = {
            "seconds": round(total, 2),
            "seconds_sampling": round(watch.sampling, 2),
            "share_not_sampling": round(1 - watch.sampling / total, 4),
            "pictures_made": watch.pictures,
            "pictures_reused": watch.reused,
            "threads": torch.get_num_threads(),
        }
        write_json(timing, self.out / "timing.json")


@dataclass(frozen=True)
class Made:
    """The pictures of a sweep as features and verdicts: cells and controls with equal numbers of pictures, reference
    features by judge, the training set if it is known, and what a budget added. `started`: `time.perf_counter()` at the
    start."""

    cells: Mapping[Cell, Block]
    controls: Mapping[str, Block]
    reference: Mapping[str, Features]
    training: TrainingSet | None
    spending: Spending | None
    stopwatch: Stopwatch
    started: float


def _panel(judges: Mapping[str, Any] | Sequence[Any], checker: Checker) -> Panel:
    """The judges by what they are, in their order.

    Raises UserError if none has features, two have one name, or one is no judge."""
    every = _distinct(list(judges.values()) if isinstance(judges, Mapping) else list(judges))
    extractors = [judge for judge in every if isinstance(judge, Extractor)]
    answerers = [judge for judge in every if isinstance(judge, Answerer)]
    if not extractors:
        only = "is empty" if not every else f"has no judge with features beside {every[0].name}, so no distance"
        raise UserError(f"metrics.judges {only}; give at least one judge such as a ClipJudge")
    return Panel(extractors, checker, answerers)


def _distinct(judges: Sequence[Any]) -> list[Judge]:
    for judge in judges:
        if not isinstance(judge, Judge):
            raise UserError(f"metrics.judges holds {judge!r:.60}, which is no judge; give objects with a _target_")
    names = [judge.name for judge in judges]
    for name in names:
        if not all(is_name(part) for part in name.split(":")):  # used in names of files, plots and logs
            raise UserError(
                f"judge {name!r:.120}: its name may have letters, digits, '.', '_' and '-', such as my-judge"
            )
        if names.count(name) > 1:
            raise UserError(f"two judges are called '{name}'; give each its own name")
    return list(judges)


def _insist_on_agreement(results: Results) -> None:
    wrong = [audit for audit in results.audits if not audit.agrees]
    assert not wrong, f"{len(wrong)} numbers differ between calculators (report.md, Audit), the first: {wrong[0]}"
