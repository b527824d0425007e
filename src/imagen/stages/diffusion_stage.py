"""The LightningModule that trains one stage of the cascade."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from imagen.data.batch import Batch
from imagen.devices import moved
from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.denoiser import Denoiser
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.schedules import NoiseSchedule
from imagen.errors import UserError
from imagen.randomness import make_generator
from imagen.stages.conditioners import Conditioner
from imagen.stages.continuation import apply_settings, lay_out_as_weights, round_up_batches, settings_of
from imagen.stages.ema import WeightAverage
from imagen.stages.export import describe_misfit
from imagen.stages.finite_guard import FiniteGuard
from imagen.stages.lr import constant
from imagen.stages.model import StageModel
from imagen.stages.noise_bands import BandedMean
from imagen.stages.sharding.shard import shard_denoiser, whole
from imagen.tensors import Images, PerImage

LOGGED = ("val/loss", "train/loss", "train/gradient_norm")
"""What a checkpoint can be the best by."""


class DiffusionStage(LightningModule):
    """Trains a denoiser; base and super-resolution stages differ only in their `conditioner` and their configuration.

    Any Lightning Trainer fits it on any DataLoader of `Batch`. Every random number of a batch is a function of (seed,
    number of the batch among those of all processes). So a resumed run repeats an uninterrupted one if its loader goes
    on with the batch after the last one: `ImagenDataModule` does, and `TensorBatches` with its `start`. A DataLoader
    that begins again repeats its first batches. `imagen.callbacks.curves.Curves` writes the curves.

    Args:
        name: role in the cascade: base, sr1, sr2.
        denoiser: the network with the meaning of its output.
        conditioner: what the network is told besides the noisy image.
        schedule: noise levels to train on.
        optimizer: parameters -> optimizer.
        resolution: side of the images that this stage makes, in pixels.
        lr_schedule: optimizer -> learning-rate scheduler, stepped after every optimizer step.
        text_dropout: share of the captions that are dropped, in [0, 1], for classifier-free guidance.
        ema_decay: of the averaged weights, which are the ones that sample; in [0, 1).
        seed: of noise, noise levels and dropout.
        max_skipped_steps: number of non-finite steps to skip before stopping. A step is skipped if its loss or gradient
            is not finite; weights, average and optimizer state then stay as they were.

    Raises:
        UserError: if `text_dropout` or `max_skipped_steps` is out of range.
    """

    def __init__(
        self,
        name: str,
        denoiser: Denoiser,
        conditioner: Conditioner,
        schedule: NoiseSchedule,
        optimizer: Callable[..., Optimizer],
        resolution: int,
        lr_schedule: Callable[[Optimizer], LRScheduler] = constant,
        text_dropout: float = 0.1,
        ema_decay: float = 0.999,
        seed: int = 0,
        max_skipped_steps: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= text_dropout <= 1:
            raise UserError(f"stage.text_dropout={text_dropout} must be in [0, 1]")
        self.name, self.resolution, self.text_dropout, self.seed = name, resolution, text_dropout, seed
        self.denoiser = denoiser.to(memory_format=torch.channels_last)
        self.ema = WeightAverage(self.denoiser, ema_decay)
        self.conditioner, self.schedule = conditioner, schedule
        self.make_optimizer, self.make_lr_schedule = optimizer, lr_schedule
        self.bands = BandedMean()
        self.guard = FiniteGuard(max_skipped_steps, seed)
        self.init_from: str | None = None  # sha256 of the weights the run started from
        self.taught_by: str | None = None  # that of the weights of its teacher

    def reads(self, text: Mapping[str, Any] | None) -> None:
        """Raises UserError if the stage cannot be trained on the text source with the fingerprint `text`."""

    def configure_model(self) -> None:
        """Leave each process its piece of weights and average, if the strategy asks for it.

        Raises:
            UserError: as `shard_denoiser`.
        """
        if self.device_mesh is not None:
            if not all(weight.requires_grad for weight in self.denoiser.parameters()):
                self.ema.module = copy.deepcopy(self.ema.module)  # a weight cannot be sharded twice
            for denoiser in (self.denoiser, self.ema.module):
                shard_denoiser(denoiser, self.device_mesh["data_parallel"])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        generator = self._generator("train", batch)
        losses, log_snr = self._losses(self.denoiser, batch, generator, training=True)
        self.bands.update(losses, log_snr)
        self.guard.add(batch, log_snr, losses)
        return losses.mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        # The same noise and the same levels every time, so that two validations differ by the weights alone.
        generator = self._generator("validate", batch)
        losses, _ = self._losses(self.ema.module, batch, generator, training=False)
        self.log("val/loss", losses.mean(), batch_size=len(losses), sync_dist=True, prog_bar=True, logger=False)

    def _generator(self, purpose: str, batch: Batch) -> torch.Generator:
        """Of the noise of a batch. Its key is the number of the batch among those of all processes, so that two
        processes draw what one draws that accumulates the gradients of two batches."""
        processes = self.trainer.world_size if self._trainer is not None else 1
        # The last number was the rank: with it runs of one process draw what they drew before.
        return make_generator(self.seed, purpose, batch.position * processes + self.global_rank, 0)

    def _losses(
        self, denoiser: Denoiser, batch: Batch, generator: torch.Generator, training: bool
    ) -> tuple[PerImage, PerImage]:
        """Loss and log-SNR of each image, for noise drawn from `generator`. Signals are dropped in training alone."""
        x0 = self.conditioner.target(batch)  # pictures of the stage's resolution, or crops of them
        level = self.schedule.sample(len(x0), generator, x0.device)
        eps = moved(torch.randn(x0.shape, generator=generator), x0.device)
        drop = moved(torch.rand(len(x0), generator=generator) < self.text_dropout, x0.device)
        if not training:
            conditioning = self.conditioner.for_validation(batch, generator)
        elif self.text_dropout > 0:
            conditioning = self.drop_text(self.conditioner.for_training(batch, generator), drop)
        else:
            conditioning = self.conditioner.for_training(batch, generator)
        if told := self.conditioner.told_first(len(x0), generator):
            first = self._estimated_once(denoiser, level.add_noise(x0, eps), level, conditioning, slice(told))
            conditioning = first.concat(conditioning.take(slice(told, None)))
        return denoiser.loss(x0, eps, level, conditioning), level.log_snr

    def _estimated_once(
        self, denoiser: Denoiser, z: Images, level: NoiseLevel, conditioning: Conditioning, images: slice
    ) -> Conditioning:
        """What the network is told of some of the images after an estimate of x0, which passes on no gradient."""
        conditioning = conditioning.take(images)
        with torch.no_grad():
            x0 = denoiser(z[images], NoiseLevel(level.log_snr[images]), conditioning)
        return self.conditioner.with_estimate(conditioning, x0)

    def drop_text(self, conditioning: Conditioning, images: Bool[Tensor, "batch"]) -> Conditioning:
        """The captions dropped for the images where `images` is True. Raises UserError if there is no text to drop."""
        for name in self.conditioner.caption_signals:
            if name not in conditioning:
                raise UserError(
                    f"stage.text_dropout={self.text_dropout}: {type(self.conditioner).__name__} gives no signal "
                    f"{name!r} to drop; set stage.text_dropout=0"
                )
            conditioning = conditioning.drop(name, images)
        return conditioning

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        norm = whole(torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), gradient_clip_val or float("inf")))
        # All processes skip, or none: a loss can be infinite on one of them alone. This is the one moment of a step at
        # which the process waits for the device: what is not finite must not reach weights and average.
        finite, loss = self.trainer.strategy.reduce(self.guard.judged(norm), reduce_op="mean")
        if finite == 1:
            self.log("train/gradient_norm", norm, logger=False)
            self.log("train/loss", loss, prog_bar=True, logger=False)
            return
        folder = Path(self.trainer.default_root_dir) / "not_finite"
        self.guard.skip(self.trainer.global_step + 1, self.global_rank, norm.item(), folder)
        for parameter in self.denoiser.parameters():
            parameter.grad = None  # optimizers leave alone what has no gradient: no momentum, no decay

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        step, skipped = self.trainer.global_step + 1, self.guard.skipped_steps
        super().optimizer_step(*args, **kwargs)
        if self.guard.skipped_steps == skipped:
            self.ema.update(self.denoiser, step)
        self.guard.forget()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["skipped_steps"], checkpoint["init_from"] = self.guard.skipped_steps, self.init_from

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises UserError when the weights are another network's."""
        self.guard.skipped_steps, self.init_from = checkpoint.get("skipped_steps", 0), checkpoint.get("init_from")
        if misfit := describe_misfit(self.state_dict(), checkpoint["state_dict"]):
            raise UserError(f"the checkpoint is of another network: {misfit}; give the new run another name")

    def on_train_start(self) -> None:
        round_up_batches(self.trainer)
        optimizer, scheduler = self.optimizers(use_pl_optimizer=False), self.lr_schedulers()
        assert isinstance(optimizer, Optimizer)
        assert isinstance(scheduler, LRScheduler)
        apply_settings(self._asked, optimizer, scheduler)
        lay_out_as_weights(optimizer)

    def averaged(self) -> StageModel:
        """The averaged weights, ready to sample."""
        return StageModel(self.name, self.resolution, self.ema.module, self.schedule, self.conditioner)

    def configure_optimizers(self) -> dict[str, object]:
        try:
            optimizer = self.make_optimizer([weight for weight in self.denoiser.parameters() if weight.requires_grad])
        except (TypeError, ValueError) as error:
            given = getattr(self.make_optimizer, "keywords", {})
            raise UserError(f"stage.optimizer cannot be built with {given}: {error}") from error
        scheduler = self.make_lr_schedule(optimizer)
        self._asked = settings_of(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
