"""The ablations of Imagen's figure 4 in miniature: `imagen ablation text_encoder`.

One command trains what is not trained yet, measures each model with evaluate.py and draws them together. It runs the
commands that a user would type, one after the other, and prints them; stopped, it goes on where it was.
"""

import argparse
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imagen.checks.names import checked_name
from imagen.commandline.arguments import override
from imagen.commandline.command import first_line, prepare_environment, run_reporting_errors
from imagen.commandline.together import run_alone
from imagen.errors import UserError
from imagen.files import user_path
from imagen.places import ROOT

ABLATIONS = ROOT / "conf" / "ablation"
RESULTS = ROOT / "docs" / "results" / "ablations"
PUBLISHED = RESULTS / "imagen_figure4.csv"
Runner = Callable[[Sequence[str]], int]
"""Runs one command (`train.py`, its arguments, ...) and returns its exit code."""


@dataclass(frozen=True)
class Arm:
    """A curve: `run` is a folder below runs/, None when nothing is trained; `train` and `evaluate` are arguments;
    `curve` is its label in the evaluation."""

    label: str
    run: str | None
    train: str | None
    evaluation: str
    evaluate: str
    curve: str


@dataclass(frozen=True)
class Ablation:
    """A file of conf/ablation, which says what each key means."""

    title: str
    paper: str | None
    across: str | None
    values: Sequence[float]
    prepare: Mapping[str, str]
    arms: Sequence[Arm]

    def evaluations(self, arm: Arm) -> dict[str, tuple[float | None, str]]:
        """Name of each evaluation of a curve, to the value it is made at and the arguments of evaluate.py."""
        if self.across is None:
            return {arm.evaluation: (None, arm.evaluate)}
        return {
            f"{arm.evaluation}-{value:g}": (value, f"{arm.evaluate} {self.across}={value:g}") for value in self.values
        }


@dataclass(frozen=True)
class Workplace:
    """Where runs, outputs and caches lie, and what is overrides for every training and every evaluation."""

    root: Path
    train: Sequence[str] = ()
    evaluate: Sequence[str] = ()

    @property
    def evaluations(self) -> Path:
        """The folder of the finished evaluations."""
        return self.root / "outputs" / "evaluation"

    @property
    def paths(self) -> list[str]:
        moved = () if self.root == ROOT else ("runs", "cache", "outputs")
        return [override(f"paths.{name}", str(self.root / name)) for name in moved]


def read_ablation(path: Path) -> Ablation:
    """Raises UserError when there is no such ablation or it lacks a key or has one that nobody reads."""
    from omegaconf import OmegaConf

    from imagen.instantiation import as_dict

    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
        raise UserError(f"no ablation {path.stem}: choose one of {known}")
    content = as_dict(OmegaConf.load(path), resolve=False)
    try:
        arms = [Arm(label, **arm) for label, arm in content.pop("curves").items()]
        for arm in arms:
            checked_name(arm.evaluation, f"{path}: evaluation")
            for part in (arm.run or "none").split("/"):
                checked_name(part, f"{path}: run")
        values = [float(value) for value in content.pop("values")]
        return Ablation(arms=arms, values=values, **content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: not an ablation ({error}); compare it with conf/ablation/text_encoder.yaml") from None


def commands(ablation: Ablation, place: Workplace) -> Iterator[list[str]]:
    """What is still to run, in order; evaluations always, since they find out themselves what is left to do."""
    for file, module in ablation.prepare.items():
        if not (place.root / file).is_file():
            yield ["-m", module, "--out", str((place.root / file).parent)]
    for run, arm in {arm.run: arm for arm in ablation.arms if arm.run}.items():
        if not _is_trained(place.root / "runs" / run):
            name = f"name={Path(run).name}"
            yield ["train.py", *shlex.split(arm.train or ""), name, *place.paths, *place.train]
    seen = set()
    for arm in ablation.arms:
        for name, (_, arguments) in ablation.evaluations(arm).items():
            if name not in seen:
                seen.add(name)
                yield ["evaluate.py", *shlex.split(arguments), f"name={name}", *place.paths, *place.evaluate]


def _is_trained(folder: Path) -> bool:
    """Whether the run's export is of its last step: one that is under way can be exported too."""
    from imagen.runs.folder import RunFolder
    from imagen.runs.saved_config import max_steps, read_saved

    step = RunFolder(folder).exported_step()
    saved = folder / "config.yaml"
    if step is None or not saved.is_file():  # an export that came without its run is finished
        return step is not None
    return step >= max_steps(read_saved(saved), saved)


def check_before(ablation: Ablation, place: Workplace) -> None:
    """Refuse what would otherwise fail only after the training.

    Raises:
        UserError: for names and labels that cannot be, a panel that was not published, an evaluation that is to be two,
            and one of a training that is about to be replaced.
    """
    from imagen.evaluation.ablation.curves import read_published
    from imagen.evaluation.sweep.plan import check_labels

    if ablation.paper:
        read_published(PUBLISHED, ablation.paper)
    asked: dict[str, str] = {}
    for arm in ablation.arms:
        check_labels([arm.curve], arm.label)
        trains = arm.run is not None and not _is_trained(place.root / "runs" / arm.run)
        for name, (_, arguments) in ablation.evaluations(arm).items():
            folder = place.evaluations / checked_name(name, f"{arm.label}: evaluation")
            if asked.setdefault(name, arguments) != arguments:
                raise UserError(f"{arm.label}: evaluation {name} is another one of the curves; give it another name")
            if trains and folder.exists():
                raise UserError(f"{folder} is of another training than {arm.run}, which is not finished; remove it")


def run_ablation(name: str, ablation: Ablation, place: Workplace, out: Path, run: Runner) -> None:
    """Train, measure, and write <out>/<name>.png and <out>/<name>.md.

    Raises:
        UserError: when a command fails, or evaluations do not belong together.
    """
    check_before(ablation, place)
    for number, arguments in enumerate(commands(ablation, place), start=1):
        print(f"\n[{number}] python {shlex.join(arguments)}", flush=True)
        began = time.monotonic()
        if code := run(arguments):
            raise UserError(f"command {number} ended with exit code {code}; run it alone to see why")
        print(f"    {(time.monotonic() - began) / 60:.1f} min", flush=True)
    draw_ablation(name, ablation, place.evaluations, out)


def finished(ablation: Ablation, evaluations: Path) -> Ablation:
    """The ablation with those curves alone whose evaluations are all there; the others are named.

    Raises:
        UserError: if there is none.
    """
    whole = [
        arm
        for arm in ablation.arms
        if all((evaluations / name / "results.json").is_file() for name in ablation.evaluations(arm))
    ]
    if not whole:
        raise UserError(f"no curve is finished in {evaluations}; run the ablation without --draw first")
    for arm in ablation.arms:
        if arm not in whole:
            print(f"left out, not finished: {arm.label}")
    return replace(ablation, arms=whole)


def draw_ablation(name: str, ablation: Ablation, evaluations: Path, out: Path) -> None:
    """Write the plot and the table of an ablation whose evaluations are finished."""
    from imagen.evaluation.ablation.curves import (
        compare_curves,
        curve_across,
        curve_of_weights,
        insist_on_agreement,
        read_published,
    )
    from imagen.evaluation.ablation.plot import plot_ablation_across, plot_guidance_ablation
    from imagen.evaluation.ablation.table import ablation_table
    from imagen.evaluation.compare.sides import read_results
    from imagen.files import write_text

    names = list(dict.fromkeys(name for arm in ablation.arms for name in ablation.evaluations(arm)))
    results_by_name = {name: read_results(evaluations / name) for name in names}
    insist_on_agreement(list(results_by_name.values()), names)
    curves = []
    for arm in ablation.arms:
        results = {value: results_by_name[name] for name, (value, _) in ablation.evaluations(arm).items()}
        if ablation.across is None:
            curves.append(curve_of_weights(arm.label, results[None], arm.curve))
        else:
            across = {value: result for value, result in results.items() if value is not None}
            curves.append(curve_across(arm.label, across, arm.curve))
    varied = (ablation.across or "w").removeprefix("cascade.")
    comparison = compare_curves(ablation.title, varied, curves, results_by_name[names[0]])
    if ablation.across is None:
        published = read_published(PUBLISHED, ablation.paper) if ablation.paper else {}
        plot_guidance_ablation(comparison, published, out / f"{name}.png")
    else:
        plot_ablation_across(comparison, out / f"{name}.png")
    write_text(ablation_table(comparison), out / f"{name}.md")
    print(f"\n{out / name}.png and .md")


def main(arguments: Sequence[str] | None = None) -> int:
    prepare_environment()
    parser = argparse.ArgumentParser(prog="imagen ablation", description=first_line(__doc__))
    parser.add_argument("name", help=", ".join(sorted(file.stem for file in ABLATIONS.glob("*.yaml"))))
    parser.add_argument("--root", type=user_path, default=ROOT, help="folder of runs/, outputs/ and cache/")
    parser.add_argument("--out", type=user_path, default=RESULTS, help="folder of the plot and the table")
    parser.add_argument("--train", nargs="*", default=[], metavar="KEY=VALUE", help="overrides for every training")
    parser.add_argument("--evaluate", nargs="*", default=[], metavar="KEY=VALUE", help="overrides for every evaluation")
    parser.add_argument("--draw", action="store_true", help="run nothing: draw the curves that are finished")

    def run() -> None:
        options = parser.parse_args(arguments)
        place = Workplace(options.root.absolute(), options.train, options.evaluate)
        ablation = read_ablation(ABLATIONS / f"{checked_name(options.name, 'the ablation')}.yaml")
        out = options.out.absolute()
        if options.draw:
            draw_ablation(options.name, finished(ablation, place.evaluations), place.evaluations, out)
        else:
            run_ablation(options.name, ablation, place, out, run_alone)

    return run_reporting_errors(run, interrupted="what is finished is kept, and the same command goes on")


if __name__ == "__main__":
    raise SystemExit(main())
