"""`make demo`: from nothing to a Pareto plot on this machine, with the commands a user would type.

The two stages train side by side for as many steps as fit into the minutes given: a few steps of each are timed first.
A demo that was interrupted goes on where it stopped; a finished stage is not trained again. `--pictures` takes drawn
pictures with real captions instead of the shapes world, which needs `pip install -e '.[pictures]'`.
"""

import argparse
import math
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from imagen.commandline.command import first_line, prepare_environment, run_reporting_errors
from imagen.commandline.together import run_alone, run_together
from imagen.concurrency.processes import threads_each
from imagen.errors import UserError
from imagen.places import ROOT

STAGES = ("base", "sr1")
SHARE_OF_TIME = 0.78
"""Of the minutes, for the steps of the stages; the rest is for starting, validating, sampling and the sweep."""

RESULTS = """
Done in {minutes:.1f} minutes. Look at
  pictures       outputs/{name}/pictures/grid.png
  Pareto plot    outputs/{name}/sweep/pareto.png     (numbers: sweep.csv, results.json, report.md beside it)
  curves         .venv/bin/tensorboard --logdir runs
Then try      python sample.py prompt="{another}"{settings}
Again from scratch: rm -r runs/*/{name} outputs/{name}
"""


@dataclass(frozen=True)
class Demo:
    """One demo. `name`: of its runs, its folder of outputs, and its experiments, `name`_base, `name`_sr1 and `name`.

    `stages`: what they make, for people; `prompts`: a list in Hydra's grammar, sampled with `settings`; `another`: a
    prompt to try after it, with the same.
    """

    name: str
    minutes: float
    stages: str
    prompts: str
    another: str
    settings: str = ""


SHAPES = Demo(
    name="demo",
    minutes=14.0,
    stages="text -> 8 x 8, and 8 -> 32",
    prompts="[a red circle above a blue square on a white background,three green triangles on a black background]",
    another="a purple ring to the left of an orange cross on a grey background",
)
PICTURES = Demo(
    name="demo_pictures",
    minutes=29.0,
    stages="text -> 16 x 16, and 16 -> 64",
    prompts="[woman astronaut dark skin tone,red heart,man in tuxedo light skin tone,flag of Germany]",
    another="woman surfing medium skin tone",
    settings="thresholding=static guidance_weights=[2,1]",
)


def trainings(demo: Demo, minutes: float, root: Path = ROOT) -> dict[str, str]:
    """The command that trains each unfinished stage: for its share of `minutes`, or as long as it was begun with."""
    runs = {stage: root / "runs" / stage / demo.name for stage in STAGES}
    begun = {stage: begun_steps(run) for stage, run in runs.items()}
    new = affordable_steps(demo, [stage for stage in STAGES if begun[stage] is None], 60 * minutes * SHARE_OF_TIME)
    steps = {stage: begun[stage] or new[stage] for stage in STAGES}
    return {
        stage: training(demo, stage, steps[stage]) for stage in STAGES if finished_steps(runs[stage]) < steps[stage]
    }


def training(demo: Demo, stage: str, steps: int) -> str:
    """The command that trains `stage` for `steps` steps, with four validations and two grids of samples."""
    every = max(1, steps // 4)
    return (
        f"train.py experiment={demo.name}_{stage} trainer.max_steps={steps} trainer.val_check_interval={every} "
        f"callbacks.last.every_n_train_steps={every} callbacks.samples.every_n_steps={2 * every}"
    )


def begun_steps(run: Path) -> int | None:
    """How many steps the training in `run` was to take; None if there was none."""
    from imagen.runs.saved_config import max_steps, read_saved

    path = run / "config.yaml"
    return max_steps(read_saved(path), path) if path.is_file() else None


def finished_steps(run: Path) -> int:
    """How many steps the exported stage of `run` has seen, 0 if there is none."""
    from imagen.runs.folder import RunFolder
    from imagen.stages.export import CONFIG, read_description

    folder = RunFolder(run).export
    return read_description(folder).step if (folder / CONFIG).is_file() else 0


def affordable_steps(demo: Demo, stages: Sequence[str], seconds: float, *overrides: str) -> dict[str, int]:
    """How many steps of each stage fit into `seconds` here, trained side by side; at least 60.

    `overrides`: of the configuration of all stages, as on the command line of train.py.
    """
    steps = {}
    for stage, seconds_per_step in paces(demo, stages, *overrides).items():
        steps[stage] = max(60, round(seconds / seconds_per_step))
        print(f"    a step of {stage} takes {1000 * seconds_per_step:.0f} ms here: {steps[stage]} steps", flush=True)
    return steps


def paces(demo: Demo, stages: Sequence[str], *overrides: str) -> dict[str, float]:
    """Seconds per step of each stage, measured side by side on the share of the cores that each will have."""
    if not stages:
        return {}
    share = (threads_each(len(STAGES)),)
    with ProcessPoolExecutor(len(stages), get_context("spawn"), _prepare_process, share) as processes:
        experiments = [f"{demo.name}_{stage}" for stage in stages]
        return dict(zip(stages, processes.map(partial(_pace, overrides), experiments), strict=True))


def _prepare_process(threads: int) -> None:
    import torch

    prepare_environment()
    torch.set_num_threads(threads)


def _pace(overrides: Sequence[str], experiment: str) -> float:
    from hydra import compose, initialize_config_dir

    from imagen.runs.pace import seconds_per_step

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return seconds_per_step(compose("train", overrides=[f"experiment={experiment}", *overrides]))


def train_stages(demo: Demo, minutes: float) -> int:
    """Train the stages that are not yet trained, side by side; an exit code."""
    commands = trainings(demo, minutes)
    print("\n".join(f"    python {arguments}" for arguments in commands.values()) or "    already trained", flush=True)
    return run_together(commands)


def run(arguments: str, shown: str | None = None) -> int:
    """Run `python <arguments>`, which is `shown` as a user would type it; its exit code."""
    print(f"    {shown or f'python {arguments}'}", flush=True)
    return run_alone(shlex.split(arguments))


def take(title: str, step: Callable[[], int]) -> None:
    """One step of the demo. Raises SystemExit with its exit code if it fails."""
    print(f"\n{title}", flush=True)
    began = time.monotonic()
    if code := step():
        print(f"{title} failed with exit code {code}; run the command above alone to see why", file=sys.stderr)
        raise SystemExit(code)
    print(f"    {(time.monotonic() - began) / 60:.1f} min", flush=True)


def make_demo(demo: Demo, minutes: float) -> None:
    """Take the steps one after another; stop at the first that fails."""
    started = time.monotonic()
    captions = f"cache experiment={demo.name}_base"
    take(
        "[1/4] Encode the captions, once for both stages",
        lambda: run(f"-m imagen.app.{captions}", f"imagen {captions}"),
    )
    take(f"[2/4] Train the stages: {demo.stages}", lambda: train_stages(demo, minutes))
    pictures = f"out=outputs/{demo.name}/pictures overwrite=true"  # of a demo that was interrupted
    chosen = f"cascade.runs=[{demo.name}] {demo.settings}".rstrip()
    take("[3/4] Sample", lambda: run(f"sample.py 'prompt={demo.prompts}' {chosen} {pictures}"))
    take("[4/4] Sweep the guidance weight", lambda: run(f"evaluate.py experiment={demo.name}"))
    minutes = (time.monotonic() - started) / 60
    settings = f" {demo.settings}".rstrip()
    print(RESULTS.format(minutes=minutes, name=demo.name, another=demo.another, settings=settings))


def main() -> None:
    prepare_environment()
    parser = argparse.ArgumentParser(prog="imagen demo", description=first_line(__doc__))
    parser.add_argument("--pictures", action="store_true", help="drawn pictures with real captions")
    parser.add_argument("--minutes", type=float, help="for the whole demo (default: 14, with --pictures 29)")
    goes_on = "what is finished is kept, and the same command goes on"

    def demonstrate() -> None:
        chosen = parser.parse_args()
        demo = PICTURES if chosen.pictures else SHAPES
        minutes = demo.minutes if chosen.minutes is None else chosen.minutes
        if not 0 < minutes < math.inf:
            raise UserError(f"--minutes {minutes:g}: give a number above 0")
        make_demo(demo, minutes)

    raise SystemExit(run_reporting_errors(demonstrate, interrupted=goes_on))


if __name__ == "__main__":
    main()
