"""Weights to sample from: exported stages, and checkpoints of runs, averaged or raw.

Reading a checkpoint needs Lightning, which is therefore imported only for one.
"""

from dataclasses import replace
from pathlib import Path

import torch

from imagen.errors import UserError
from imagen.published.additions import load_additions
from imagen.published.folder import is_published
from imagen.published.stage import load_published
from imagen.published.text import PublishedText
from imagen.runs.worlds import with_world
from imagen.stages.export import TrainedStage, load_stage, read_description, ready_to_sample

AVERAGED, RAW = "averaged", "raw"
"""The moving average of the weights, which exported stages hold, and the weights that the optimizer moves."""


def load_weights(
    path: Path,
    weights: str,
    device: torch.device,
    prefix: str = "cascade.",
    text: PublishedText | None = None,
    low_resolution: int | None = None,
) -> TrainedStage:
    """The stage in `path`, an exported folder or a checkpoint of a run (`*.ckpt`), with its averaged or raw weights.

    An export holds averaged weights only; its raw ones are taken from the last checkpoint of its run. The folder of a
    published stage has one kind of weights; `text` is its text encoder, `low_resolution` the side of the pictures of
    the stage before.

    Raises:
        UserError: for another kind of weights, and for files that are missing, damaged or do not belong together. Its
            message puts `prefix` before the key `weights`.
    """
    if weights not in (AVERAGED, RAW):
        raise UserError(f"{prefix}weights={weights}: choose {AVERAGED} or {RAW}")
    if text is not None and is_published(path):
        if weights == RAW:
            raise UserError(f"{prefix}weights={RAW}: {path} was published with one kind of weights; leave it out")
        return load_published(path, text, device, low_resolution)
    if path.suffix != ".ckpt" and weights == AVERAGED:
        stage = (load_stage if read_description(path).adds_to is None else load_additions)(path, device)
        return replace(stage, description=with_world(stage.description, path.parent))
    from imagen.runs.checkpoint import read_checkpoint
    from imagen.runs.folder import RunFolder

    if path.suffix == ".ckpt":
        return ready_to_sample(*read_checkpoint(path, weights == AVERAGED), device)
    checkpoint = RunFolder(path.parent).last_checkpoint
    if path.name != "export" or not checkpoint.is_file():
        raise UserError(
            f"{prefix}weights={RAW}: {path} holds averaged weights only and is not the export of a run that still has "
            f"its checkpoint; give the checkpoint itself, such as runs/base/<name>/checkpoints/last.ckpt"
        )
    description, denoiser = read_checkpoint(checkpoint, averaged=False)
    if description.step != (step := read_description(path).step):
        raise UserError(
            f"{prefix}weights={RAW}: {path} is of step {step}, {checkpoint} of step {description.step}; export the run "
            f"again with imagen export {path.parent}"
        )
    return ready_to_sample(description, denoiser, device)
