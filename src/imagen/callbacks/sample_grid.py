"""Pictures during training: the averaged weights, fixed prompts, fixed noise, several guidance weights."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer

from imagen.callbacks.loggers import RunLogger
from imagen.callbacks.stop_on_signal import stopped_by_signal
from imagen.cascade.settings import SamplingSettings
from imagen.cascade.stage import sample_images
from imagen.data.batch import Batch
from imagen.data.pixels import to_uint8
from imagen.diffusion.guidance import ClassifierFreeGuidance
from imagen.diffusion.samplers import Sampler
from imagen.diffusion.thresholding import Thresholding
from imagen.errors import UserError
from imagen.files import user_path
from imagen.pictures import labelled_grid, save_png
from imagen.randomness import make_generator
from imagen.stages.conditioners import CHANNELS
from imagen.stages.diffusion_stage import DiffusionStage


class SampleGrid(Callback):
    """A grid of samples as a PNG and in TensorBoard: prompts down, guidance weights across.

    A super-resolution stage enlarges validation images; its grid shows what it was given and the original too. Pictures
    to condition on are shown where the stage reads them. With buckets, the prompts are shared among the first
    validation batches of different shapes.

    Args:
        shares: of the run's optimizer steps, in (0, 1], after which a grid is drawn; there is one at the end as well.
        every_n_steps: optimizer steps between two grids, in the place of `shares`; None: those.
        num_prompts: how many captions of the validation set.
        weights: guidance weights.
        folder: of the PNG files.
        seed: of the noise.
        aug_level: noise on the low-resolution image, in [0, 1].
        sampler: of the grids.
        thresholding: of the grids.

    Raises:
        UserError: if `every_n_steps` is below 1, a share out of its range, or a grid empty.
    """

    def __init__(
        self,
        shares: Sequence[float | int],
        every_n_steps: int | None,
        num_prompts: int,
        weights: Sequence[float | int],
        folder: str,
        seed: int,
        aug_level: float,
        sampler: Sampler,
        thresholding: Thresholding,
    ) -> None:
        if not all(0 < share <= 1 for share in shares):
            raise UserError(f"callbacks.samples.shares={list(shares)}: shares of the run's steps, above 0 and up to 1")
        if every_n_steps is not None and every_n_steps < 1:
            raise UserError(
                f"callbacks.samples.every_n_steps={every_n_steps}: at least 1; callbacks.samples=null draws none"
            )
        if num_prompts < 1 or not list(weights):
            raise UserError(
                f"callbacks.samples: a grid of {num_prompts} prompts and the weights {list(weights)} is empty; "
                "callbacks.samples=null draws none"
            )
        self.shares, self.every_n_steps = list(shares), every_n_steps
        self.num_prompts, self.weights = num_prompts, list(weights)
        self.folder, self.seed = user_path(folder), seed
        self.settings = [
            SamplingSettings(sampler, ClassifierFreeGuidance(weight), thresholding, aug_level)
            for weight in self.weights
        ]
        self._drawn_at = -1

    def due(self, step: int, max_steps: int) -> bool:
        """Whether a grid is drawn after optimizer step `step` of `max_steps`: by the numbers alone, resumed or not."""
        if self.every_n_steps is not None:
            return step > 0 and step % self.every_n_steps == 0
        return step in {math.ceil(share * max_steps) for share in self.shares}

    def on_train_start(self, trainer: Trainer, stage: LightningModule) -> None:
        self._drawn_at = trainer.global_step  # by the run that is resumed; of random weights there is nothing to see

    def on_train_batch_end(
        self, trainer: Trainer, stage: DiffusionStage, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step != self._drawn_at and self.due(step, trainer.max_steps):  # once, however many micro-batches a step has
            self._draw(trainer, stage)

    def on_train_end(self, trainer: Trainer, stage: DiffusionStage) -> None:
        if trainer.global_step != self._drawn_at and not stopped_by_signal(trainer):  # it is waited for, and goes on
            self._draw(trainer, stage)

    def _draw(self, trainer: Trainer, stage: DiffusionStage) -> None:
        # On every rank, so that they begin the next step together. Only the first one writes.
        step = self._drawn_at = trainer.global_step
        if stage.conditioner.channels != CHANNELS:
            return  # vectors: nothing to see
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        rows: list[tuple[np.ndarray, ...]] = []
        captions: list[str] = []
        columns: list[str] = []
        batches = list(islice(data.examples(), self.num_prompts))
        for left, batch in zip(range(len(batches), 0, -1), batches, strict=True):
            count = min(-(-(self.num_prompts - len(rows)) // left), len(batch.images))
            drawn = self._columns(stage, batch.to(stage.device), slice(count), len(rows))
            rows += zip(*drawn.values(), strict=True)
            captions += [caption or "(no text)" for caption in batch.captions[:count]]
            columns = list(drawn)
        if not trainer.is_global_zero:
            return
        grid = labelled_grid(rows, captions, columns)
        save_png(grid, self.folder / f"step_{step:07d}.png", {"step": step, "weights": self.weights, "seed": self.seed})
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.log_picture("samples", np.asarray(grid), step)

    @torch.no_grad()
    def _columns(self, stage: DiffusionStage, batch: Batch, some: slice, before: int) -> dict[str, np.ndarray]:
        """Column label -> pictures, uint8, for `some` of a batch; `before` counts those of the grid so far."""
        images = batch.images[some]
        given = stage.conditioner.given(batch).take(some)
        columns: dict[str, np.ndarray] = {}
        if "smaller" in given:
            columns = {"original": to_uint8(images), "given": to_uint8(given["smaller"].images)}
        if "condition" in given:
            columns["condition"] = to_uint8(given["condition"].images)
        model, size = stage.averaged(), (images.shape[-2], images.shape[-1])
        for weight, settings in zip(self.weights, self.settings, strict=True):
            generators = [make_generator(self.seed, "grid", before + i) for i in range(len(images))]
            with torch.autocast(stage.device.type, torch.bfloat16, enabled="bf16" in str(stage.trainer.precision)):
                pictures = sample_images(model, given, replace(settings, size=size), generators)
            columns[f"w = {weight:g}"] = to_uint8(pictures)
        return columns
