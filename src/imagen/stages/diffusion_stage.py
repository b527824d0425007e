"""The LightningModule that trains one stage of the cascade."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from imagen.data.batch import Batch
from imagen.diffusion.denoiser import Denoiser
from imagen.diffusion.schedules import NoiseSchedule
from imagen.errors import UserError
from imagen.randomness import make_generator
from imagen.stages.conditioners import Conditioner
from imagen.stages.ema import WeightAverage
from imagen.stages.export import describe_misfit
from imagen.stages.model import StageModel
from imagen.stages.noise_bands import BandedMean
from imagen.stages.non_finite import MicroBatch, write_report
from imagen.tensors import PerImage

LOGGED = ("val/loss", "train/loss", "train/gradient_norm")
"""What a checkpoint can be the best by."""

log = logging.getLogger(__name__)


class DiffusionStage(LightningModule):
    """Trains a denoiser; base and super-resolution stages differ only in their `conditioner` and their configuration.

    Every random number of batch k on rank r is a function of (seed, k, r): a resumed run repeats an uninterrupted one.

    Args:
        name: role in the cascade: base, sr1, sr2.
        denoiser: the network with the meaning of its output.
        conditioner: what the network is told besides the noisy image.
        schedule: noise levels to train on.
        optimizer: parameters -> optimizer.
        lr_schedule: optimizer -> learning-rate scheduler, stepped after every optimizer step.
        resolution: side of the images that this stage makes, in pixels.
        text_dropout: share of the captions that are dropped, in [0, 1], for classifier-free guidance.
        ema_decay: of the averaged weights, which are the ones that sample.
        seed: of noise, noise levels and dropout.
        max_skipped_steps: so many optimizer steps may be left out because their loss or gradient was not finite; the
            next one stops the run. Weights, average and optimizer state never take one in.
    """

    def __init__(
        self,
        name: str,
        denoiser: Denoiser,
        conditioner: Conditioner,
        schedule: NoiseSchedule,
        optimizer: Callable[..., Optimizer],
        lr_schedule: Callable[[Optimizer], LRScheduler],
        resolution: int,
        text_dropout: float,
        ema_decay: float,
        seed: int,
        max_skipped_steps: int = 0,
    ) -> None:
        super().__init__()
        if max_skipped_steps < 0:
            raise UserError(f"stage.max_skipped_steps={max_skipped_steps}: 0 or more are needed")
        if not 0 <= text_dropout <= 1:
            raise UserError(f"stage.text_dropout={text_dropout} must be in [0, 1]")
        self.name, self.resolution, self.text_dropout, self.seed = name, resolution, text_dropout, seed
        self.denoiser = denoiser.to(memory_format=torch.channels_last)
        self.ema = WeightAverage(self.denoiser, ema_decay)
        self.conditioner, self.schedule = conditioner, schedule
        self.make_optimizer, self.make_lr_schedule = optimizer, lr_schedule
        self.bands = BandedMean()
        self.max_skipped_steps, self.skipped_steps = max_skipped_steps, 0
        self.init_from: str | None = None  # sha256 of the weights the run started from
        self._micro_batches: list[MicroBatch] = []  # since the last optimizer step

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        generator = make_generator(self.seed, "train", batch.position, self.global_rank)
        losses, log_snr = self._losses(self.denoiser, batch, generator, self.text_dropout)
        self.bands.update(losses, log_snr)
        loss = losses.mean()
        self.log("train/loss", loss, prog_bar=True, logger=False)  # `Curves` writes them
        self._micro_batches.append(MicroBatch(batch.position, batch.ids, batch.captions, log_snr, losses.detach()))
        # Now, not in on_train_batch_end: callbacks that write checkpoints run before that hook.
        self.trainer.datamodule.next_position = batch.position + 1
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        # The same noise and the same levels every time, so that two validations differ by the weights alone.
        generator = make_generator(self.seed, "validate", batch.position, self.global_rank)
        losses, _ = self._losses(self.ema.module, batch, generator, text_dropout=0.0)
        self.log("val/loss", losses.mean(), batch_size=len(losses), sync_dist=True, prog_bar=True, logger=False)

    def _losses(
        self, denoiser: Denoiser, batch: Batch, generator: torch.Generator, text_dropout: float
    ) -> tuple[PerImage, PerImage]:
        """Loss and log-SNR of each image, for noise drawn from `generator`."""
        x0 = batch.images  # the DataModule delivers the stage's resolution, or crops of it
        level = self.schedule.sample(len(x0), generator, x0.device)
        eps = torch.randn(x0.shape, generator=generator).to(x0.device)
        drop = (torch.rand(len(x0), generator=generator) < text_dropout).to(x0.device)
        conditioning = self.conditioner.for_training(batch, generator)
        if text_dropout:
            conditioning = conditioning.drop("text", drop)
        return denoiser.loss(x0, eps, level, conditioning), level.log_snr

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        norm = torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), gradient_clip_val or float("inf"))
        finite = bool(norm.isfinite()) and all(micro.finite for micro in self._micro_batches)
        # All processes skip, or none: a loss can be infinite on one of them alone.
        if self.trainer.strategy.reduce_boolean_decision(finite, all=True):
            self.log("train/gradient_norm", norm, logger=False)
        else:
            self._skip_or_stop(norm.item())

    def _skip_or_stop(self, norm: float) -> None:
        """Before the optimizer and the average can take in what is not finite."""
        step, last = self.trainer.global_step + 1, self._micro_batches[-1]
        folder = Path(self.trainer.default_root_dir) / "not_finite"
        report = write_report(folder, step, self.seed, self.global_rank, norm, self._micro_batches)
        said = f"the gradient is {norm} at batch {last.position} (examples {last.ids.tolist()}): nothing was updated"
        if self.skipped_steps >= self.max_skipped_steps:
            raise UserError(
                f"{said}; ids, noise levels and losses are in {report}; resume from the last checkpoint with a smaller "
                "stage.optimizer.lr, trainer.precision=32-true, or stage.max_skipped_steps=10"
            )
        self.skipped_steps += 1
        log.warning("%s; skipped step %d, %d of %d", said, step, self.skipped_steps, self.max_skipped_steps)
        for parameter in self.denoiser.parameters():
            parameter.grad = None  # optimizers leave alone what has no gradient: no momentum, no decay

    def optimizer_step(self, *args: object, **kwargs: object) -> None:
        step, skipped = self.trainer.global_step + 1, self.skipped_steps
        super().optimizer_step(*args, **kwargs)
        if self.skipped_steps == skipped:
            self.ema.update(self.denoiser, step)
        self._micro_batches.clear()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["skipped_steps"], checkpoint["init_from"] = self.skipped_steps, self.init_from

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises UserError when the weights are another network's."""
        self.skipped_steps, self.init_from = checkpoint.get("skipped_steps", 0), checkpoint.get("init_from")
        if misfit := describe_misfit(self.state_dict(), checkpoint["state_dict"]):
            raise UserError(f"the checkpoint is of another network: {misfit}; give the new run another name")

    def on_train_start(self) -> None:
        """What the run may change takes effect: a checkpoint has restored the optimizer's settings it was saved with,
        and a count of batches that may lie within an accumulation of now. Nothing moves where they are the same."""
        progress, batches = self.trainer.fit_loop.epoch_loop.batch_progress, self.trainer.accumulate_grad_batches
        missing = -progress.current.ready % batches
        for name in ("ready", "started", "processed", "completed") if missing else ():
            setattr(progress.current, name, getattr(progress.current, name) + missing)
        scheduler = self.lr_schedulers()
        groups = self.optimizers(use_pl_optimizer=False).param_groups
        for i, (group, asked) in enumerate(zip(groups, self._asked, strict=True)):
            group.update(asked)
            if scheduler.base_lrs[i] != asked["initial_lr"]:
                scheduler.base_lrs[i] = asked["initial_lr"]
                group["lr"] = asked["initial_lr"] * scheduler.lr_lambdas[i](scheduler.last_epoch)

    def averaged(self, resolution: int | None = None) -> StageModel:
        """The averaged weights, ready to sample; at another resolution if the stage was trained on crops."""
        return StageModel(self.name, resolution or self.resolution, self.ema.module, self.schedule, self.conditioner)

    def configure_optimizers(self) -> dict[str, object]:
        try:
            optimizer = self.make_optimizer(self.denoiser.parameters())
        except (TypeError, ValueError) as error:
            given = getattr(self.make_optimizer, "keywords", {})
            raise UserError(f"stage.optimizer cannot be built with {given}: {error}") from error
        scheduler = self.make_lr_schedule(optimizer)
        kept = {"params", "lr"}  # of the checkpoint's
        self._asked = [{name: group[name] for name in group.keys() - kept} for group in optimizer.param_groups]
        # `Curves` writes the rate, beside train/loss.
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
