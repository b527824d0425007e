"""Our contestant in benchmarks/race.py: the stages of `make demo`, trained by train.py."""

import shlex
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from race_rules import STAGES, Contestant, Point, Rules, Sample

from imagen.app.demo import SHAPES, affordable_steps
from imagen.commandline.together import run_together
from imagen.diffusion.samplers import DPMSolverPP2M
from imagen.errors import UserError
from imagen.runs.saved_config import read_saved
from imagen.sampling.text_to_image import TextToImage
from imagen.stages.export import load_stage
from imagen.tensors import Images
from imagen.text.embeddings import TextEmbeddings

SHARE_OF_TIME = 0.9
"""Of the minutes, for the steps; the rest is for starting, checkpoints and exporting, which count too, and for a pace
that falls: steps have taken 5 % longer than in the seconds before."""
LARGEST_OVERRUN = 1.01
"""Of the minutes: the number of steps is fixed before, from the pace of some seconds, and that may be wrong."""
STEPS = (12, 8)
"""Of DPM-Solver++(2M) in conf/experiment/demo.yaml."""


def export(folder: Path, stage: str) -> Path:
    return folder / "runs" / stage / "race" / "export"


class Ours(Contestant):
    """experiment=demo_base and demo_sr1. Its minutes are those of the two commands, from start to exit."""

    description = "experiment=demo_base, demo_sr1 (Muon, v-prediction), DPM-Solver++(2M)"

    def train(self, rules: Rules, folder: Path) -> dict[str, Any]:
        shutil.rmtree(folder / "runs", ignore_errors=True)  # the rest of a run would take other minutes
        options = ["trainer=cpu", f"paths.cache={rules.cache}"]
        steps = affordable_steps(SHAPES, STAGES, 60 * rules.minutes * SHARE_OF_TIME, *options)
        options += [f"paths.runs={folder / 'runs'}", "name=race"]
        # Nobody looks at validation or samples before the end, on either side.
        options += ["callbacks=minimal", "callbacks.best=null", "trainer.limit_val_batches=0"]
        shared = shlex.join(options)
        commands = {
            stage: f"train.py experiment=demo_{stage} {shared} trainer.max_steps={steps[stage]}" for stage in STAGES
        }
        print("\n".join(f"    python {command}" for command in commands.values()), flush=True)
        started = time.monotonic()
        if code := run_together(commands):
            raise UserError(f"ours: a training ended with exit code {code}; run the command above alone to see why")
        minutes = (time.monotonic() - started) / 60
        check_minutes(minutes, rules.minutes)
        return {"minutes": minutes, **{stage: _facts(folder, stage) for stage in STAGES}}

    def points(self, weights: Sequence[float], timesteps: Sequence[int]) -> list[Point]:
        return [Point(weight, STEPS) for weight in weights]

    def sampler(self, folder: Path, point: Point) -> Sample:
        model = TextToImage.load(*(export(folder, stage) for stage in STAGES), device="cpu", batch_size=64)

        def sample(text: TextEmbeddings) -> Images:
            samplers = {stage: DPMSolverPP2M(steps) for stage, steps in zip(STAGES, point.steps, strict=True)}
            images = model.images(embeddings=text, sampler=samplers, guidance_weight=point.weights)
            assert isinstance(images, torch.Tensor)
            return images

        return sample


def check_minutes(minutes: float, allowed: float) -> None:
    """Raises UserError if our training took longer than the others may: the race then keeps no result of it."""
    if minutes > LARGEST_OVERRUN * allowed:
        raise UserError(
            f"ours: training took {minutes:.2f} minutes of {allowed:g}, and is not kept: run again on a quieter "
            "machine, or with more --minutes, or lower SHARE_OF_TIME in benchmarks/race_ours.py"
        )


def _facts(folder: Path, stage: str) -> dict[str, int]:
    trained = load_stage(export(folder, stage), torch.device("cpu"))
    return {
        "parameters": sum(parameter.numel() for parameter in trained.model.denoiser.parameters()),
        "steps": trained.description.step,
        "batch_size": read_saved(export(folder, stage).parent / "config.yaml")["data"]["batch_size"],
    }
