"""`make demo`: from nothing to a Pareto plot on this machine, with the commands a user would type.

The two stages train for as many steps as fit into the minutes given: a few steps of each are timed first. A demo that
was interrupted goes on where it stopped; a finished stage is not trained again.
"""

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

from imagen.app.command import ROOT, prepare_environment

NAME = "demo"
PROMPTS = "[a red circle above a blue square on a white background,three green triangles on a black background]"
SHARE_OF_TIME = {"base": 0.45, "sr1": 0.27}
"""Of the minutes, for the steps of each stage; the rest is for starting, validating, sampling and the sweep."""

RESULTS = """
Done in {minutes:.1f} minutes. Look at
  pictures       outputs/demo/pictures/grid.png
  Pareto plot    outputs/demo/sweep/pareto.png     (numbers: sweep.csv, results.json, report.md beside it)
  curves         .venv/bin/tensorboard --logdir runs
Then try      python sample.py prompt="a purple ring to the left of an orange cross on a grey background"
Again from scratch: rm -r runs/*/demo outputs/demo
"""


def training(stage: str, minutes: float, root: Path = ROOT) -> str | None:
    """The command that trains `stage` for its share of `minutes`, or as long as it was begun; None if it is done."""
    run = root / "runs" / stage / NAME
    steps = begun_steps(run)
    if steps is None:
        steps = affordable_steps(stage, 60 * minutes * SHARE_OF_TIME[stage])
    elif finished_steps(run) >= steps:
        return None
    every = max(1, steps // 4)
    return (
        f"train.py experiment={NAME}_{stage} trainer.max_steps={steps} trainer.val_check_interval={every} "
        f"callbacks.last.every_n_train_steps={every} callbacks.samples.every_n_steps={2 * every}"
    )


def begun_steps(run: Path) -> int | None:
    """How many steps the training in `run` was to take; None if there was none."""
    from imagen.app.saved_config import read_saved

    path = run / "config.yaml"
    return int(read_saved(path).trainer.max_steps) if path.is_file() else None


def finished_steps(run: Path) -> int:
    """How many steps the exported stage of `run` has seen, 0 if there is none."""
    from imagen.app.runs import RunFolder
    from imagen.stages.export import CONFIG, read_description

    folder = RunFolder(run).export
    return read_description(folder).step if (folder / CONFIG).is_file() else 0


def affordable_steps(stage: str, seconds: float) -> int:
    """How many steps of the demo's `stage` take so many seconds here, by timing a few; at least 20."""
    from hydra import compose, initialize_config_dir

    from imagen.app.pace import seconds_per_step

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", overrides=[f"experiment={NAME}_{stage}"])
    step = seconds_per_step(config)
    steps = max(20, round(seconds / step))
    print(f"    a step takes {1000 * step:.0f} ms here: {steps} steps of {config.data.batch_size} pictures", flush=True)
    return steps


def run_step(title: str, arguments: str | None) -> None:
    """Run one command, its title first. Raises SystemExit with its code if it fails."""
    if arguments is None:
        print("    already trained", flush=True)
        return
    print(f"    python {arguments}", flush=True)
    began = time.monotonic()
    code = subprocess.run([sys.executable, *shlex.split(arguments)], cwd=ROOT, check=False).returncode
    if code:
        print(f"{title} failed with exit code {code}; run the command above alone to see why", file=sys.stderr)
        raise SystemExit(code)
    print(f"    {(time.monotonic() - began) / 60:.1f} min", flush=True)


def main() -> None:
    """Run the steps one after another; stop at the first that fails."""
    parser = argparse.ArgumentParser(prog="python -m imagen.app.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=14.0, help="for all of it; a longer demo is a better one")
    minutes = parser.parse_args().minutes
    prepare_environment()
    started = time.monotonic()
    steps = (
        ("Train the base stage: text -> 8 x 8", lambda: training("base", minutes)),
        ("Train the super-resolution stage: 8 -> 32", lambda: training("sr1", minutes)),
        ("Sample", lambda: f"sample.py 'prompt={PROMPTS}' cascade.runs=[{NAME}] out=outputs/demo/pictures"),
        ("Sweep the guidance weight", lambda: "evaluate.py experiment=demo"),
    )
    for number, (title, command) in enumerate(steps, start=1):
        print(f"\n[{number}/{len(steps)}] {title}", flush=True)
        run_step(title, command())
    print(RESULTS.format(minutes=(time.monotonic() - started) / 60))


if __name__ == "__main__":
    main()
