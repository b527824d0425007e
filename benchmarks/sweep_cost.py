"""The cost of a guidance sweep besides the networks: `python benchmarks/sweep_cost.py`.

Runs `evaluate.py` in this process with the shipped cascade, judges and checker: one weight, then the paper's 13, in
new folders, after a warm-up. Prints the time of the sweep divided by 13 times that of the single point, and the time of
its parts. It is processor time of one thread, so other work on the machine does not count.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from imagen.commandline.command import prepare_environment
from imagen.places import ROOT

ONE_CURVE = ["guidance=sweep", "~guidance.curves.static"]
BASE = "guidance.weights=[3]"


def timed(spent: dict[str, float], name: str, function: Callable) -> Callable:
    """`function`, whose processor time is added to `spent[name]`."""

    def wrapped(*arguments: object, **options: object) -> object:
        started = time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            spent[name] += time.process_time() - started

    return wrapped


def watch(spent: dict[str, float]) -> None:
    """Time the parts of an evaluation. They do not overlap, except that sampling contains the denoisers."""
    import imagen.evaluation.evaluation as harness
    import imagen.evaluation.report.report as report
    from imagen.diffusion.denoiser import Denoiser
    from imagen.evaluation.results.summary import Summary
    from imagen.evaluation.sweep.sweep import Panel
    from imagen.sampling.curves import CascadeCurve

    Denoiser.forward = timed(spent, "denoisers", Denoiser.forward)
    CascadeCurve.sample = timed(spent, "sampling", CascadeCurve.sample)
    Panel.look = timed(spent, "judges and checker", Panel.look)
    harness.reference_features = timed(spent, "reference", harness.reference_features)
    Summary.measure = timed(spent, "statistics", Summary.measure)
    Summary.audits = timed(spent, "audit", Summary.audits)
    report.write_report = timed(spent, "report", report.write_report)


def run(overrides: list[str], folder: Path, spent: dict[str, float]) -> float:
    """Processor seconds of an evaluation in `folder`; those of its parts are added to `spent`."""
    from imagen.app.evaluate import evaluate

    spent.clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("evaluate", overrides=[*overrides, f"out={folder}", "cascade.device=cpu"])
    started = time.process_time()
    evaluate(config)
    return time.process_time() - started


def print_parts(total: float, spent: dict[str, float]) -> None:
    """One line for each part of the sweep."""
    parts = dict(spent)
    denoisers = parts.pop("denoisers")
    parts["sampling, without denoisers"] = parts.pop("sampling") - denoisers
    parts["everything else"] = total - denoisers - sum(parts.values())
    print(f"{'denoisers':28s} {denoisers:8.1f} s  {denoisers / total:6.1%}")
    for name, seconds in sorted(parts.items(), key=lambda part: -part[1]):
        print(f"{name:28s} {seconds:8.1f} s  {seconds / total:6.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("overrides", nargs="*", help="further overrides of evaluate.py, e.g. sampler.num_steps=64")
    arguments = parser.parse_args()
    prepare_environment()
    torch.set_num_threads(1)
    spent: dict[str, float] = defaultdict(float)
    watch(spent)
    count = f"prompts.count={arguments.prompts}"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        run([*ONE_CURVE, BASE, "prompts.count=8", *arguments.overrides], out / "warm-up", spent)
        single = run([*ONE_CURVE, BASE, count, *arguments.overrides], out / "single", spent)
        sweep = run([*ONE_CURVE, count, *arguments.overrides], out / "sweep", spent)
    print(f"single point {single:.1f} s, 13 points {sweep:.1f} s = {sweep / (13 * single):.3f} × 13 single points")
    print_parts(sweep, spent)


if __name__ == "__main__":
    main()
