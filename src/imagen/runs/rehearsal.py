"""Try at once what would otherwise fail late in a training: before pictures are checked and captions are encoded."""

import math
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig

from imagen.data.batch import Batch
from imagen.data.module import ImagenDataModule
from imagen.data.transforms import Geometry
from imagen.diffusion.denoiser import Denoiser
from imagen.errors import UserError
from imagen.instantiation import instantiate, instantiate_stage_part
from imagen.runs.description import describe
from imagen.stages.diffusion_stage import LOGGED, DiffusionStage
from imagen.stages.distillation.guidance_conditioner import inside
from imagen.stages.export import described_conditioner
from imagen.stages.self_conditioner import SelfConditioner
from imagen.stages.sharding.strategy import ShardedStrategy
from imagen.tensors import Size


def rehearse_stage(config: DictConfig, stage: DiffusionStage, trainer: Trainer) -> None:
    """Build the optimizer and its schedule, then the stage as its export would describe it, and run it on one picture.

    On the meta device, which knows shapes and computes nothing.

    Raises:
        UserError: for an optimizer or schedule that cannot be built, a `text_dropout` without text, an export that
            could not be read back, a network that does not fit the size of the pictures or of the stage, a checkpoint
            that monitors what nobody logs, passes of sharded weights that only some of the processes would make.
    """
    stage.configure_optimizers()
    described = describe(config, step=0, images_seen=0, text=None, init_from=None)
    instantiate_stage_part(described.schedule)
    described_conditioner(described)
    with torch.device("meta"):
        denoiser = instantiate_stage_part(described.denoiser)
    for callback in trainer.checkpoint_callbacks:
        monitor = callback.monitor if isinstance(callback, ModelCheckpoint) else None
        if monitor not in (None, *LOGGED):
            raise UserError(f"callbacks: a checkpoint monitors {monitor}: nothing logs it; choose {', '.join(LOGGED)}")
    if isinstance(trainer.strategy, ShardedStrategy):
        _refuse_passes_by_chance(stage, config.data.batch_size)
    side, factor = config.data.crop_size, stage.conditioner.factor
    if side is not None and side % factor:
        raise UserError(f"data.crop_size={side} of a stage that enlarges {factor} times must be a multiple of it")
    geometry: Geometry = instantiate(config.data.geometry)
    if side is not None or geometry.buckets is None:
        side = side or stage.resolution
        _denoise_one(denoiser, stage, (side, side), config.text.features)
    else:
        _rehearse_buckets(denoiser, stage, geometry, config.text.features)


def _refuse_passes_by_chance(stage: DiffusionStage, batch_size: int) -> None:
    """Raise UserError if a process may make a first estimate where another makes none: where weights are sharded, each
    pass is one of all processes, which would wait for ever."""
    for conditioner in inside(stage.conditioner):
        if isinstance(conditioner, SelfConditioner) and 0 < conditioner.share * batch_size < 1:
            raise UserError(
                f"data.batch_size={batch_size} under trainer=fsdp: of {conditioner.share} of the pictures a first "
                f"estimate is made, which must be one at least; set data.batch_size={math.ceil(1 / conditioner.share)}"
            )


def _rehearse_buckets(denoiser: Denoiser, stage: DiffusionStage, geometry: Geometry, features: int) -> None:
    """One picture of each shape. Raises UserError if the steps of the sides are too small for the network."""
    way_out = f"choose data.geometry.bucket_steps={max(1, geometry.bucket_steps // 2)} or fewer"
    for height, width in geometry.shapes.at(stage.resolution):
        if height % stage.conditioner.factor or width % stage.conditioner.factor:
            raise UserError(
                f"a bucket of {height} x {width} in a stage that enlarges {stage.conditioner.factor} times: sides must "
                f"be multiples of it; {way_out}"
            )
        try:
            _denoise_one(denoiser, stage, (height, width), features)
        except UserError as error:
            raise UserError(f"{error}; {way_out}") from None


def _denoise_one(denoiser: Denoiser, stage: DiffusionStage, size: Size, features: int) -> None:
    """Denoise one picture with a caption of one token, on the meta device. Raises UserError if it does not fit."""
    batch, generator = _one_picture(size, features, condition=True), torch.Generator()
    try:
        x0 = stage.conditioner.target(batch)
        level = stage.schedule.sample(1, generator, x0.device)
        conditioning = stage.conditioner.for_training(batch, generator)
        if stage.text_dropout > 0:
            conditioning = stage.drop_text(conditioning, torch.zeros(1, dtype=torch.bool, device="meta"))
        denoiser(level.add_noise(x0, x0), level, conditioning)
    except RuntimeError as error:
        raise UserError(
            f"stage.denoiser does not take pictures of {size[0]} x {size[1]} with text of {features} features: "
            f"{' '.join(str(error).split())}"
        ) from None


def _one_picture(size: Size, features: int, condition: bool) -> Batch:
    """A picture with a caption of one token, and with one to condition on if `condition`, on the meta device."""
    x0, text = torch.zeros(1, 3, *size, device="meta"), torch.zeros(1, 1, features, device="meta")
    mask, ids = torch.ones(1, 1, dtype=torch.bool, device="meta"), torch.zeros(1, dtype=torch.int64, device="meta")
    return Batch(x0, text, mask, ids, ("",), 0, x0 if condition else None, x0)


def rehearse_data(data: ImagenDataModule, trainer: Trainer, stage: DiffusionStage) -> None:
    """Give `data` the trainer whose processes share its pictures, and check that the text encoder's files are there.

    Raises:
        UserError: if a process would have nothing to validate on, the weights of the text encoder are missing, or the
            stage is conditioned on pictures that the data do not give.
    """
    for source in (data.train, data.validation):
        stage.conditioner.given(_one_picture((stage.resolution, stage.resolution), 1, source.has_conditions))
    data.trainer = trainer
    if trainer.is_global_zero:
        _ = data.text.fingerprint
    if len(data.validation) < trainer.world_size:
        raise UserError(
            f"{data.validation.name}: {len(data.validation)} pictures for validation, fewer than the "
            f"{trainer.world_size} processes; hold out more (docs/reference/data.md)"
        )


def rehearse_resumption(content: dict[str, Any], stage: DiffusionStage, data: ImagenDataModule) -> None:
    """Raise UserError if the `content` of a checkpoint does not fit the network, or its place in the data no batch."""
    stage.on_load_checkpoint(content)
    data.load_state_dict(content.get(ImagenDataModule.__qualname__))
