"""Small students of small teachers: real networks and real exports, random weights."""

from functools import partial
from pathlib import Path

import torch
from lightning import Trainer
from small_stages import denoiser_config, export_random_stage
from torch.utils.data import DataLoader

from imagen.data.batch import Batch
from imagen.data.tensor_batches import TensorBatches
from imagen.diffusion.conditioning import TextSignal
from imagen.diffusion.schedules import CosineSchedule
from imagen.diffusion.spacing import UniformTime
from imagen.diffusion.thresholding import StaticThresholding
from imagen.instantiation import instantiate_stage_part
from imagen.stages.conditioners import TextConditioner
from imagen.stages.distillation.guidance_conditioner import GuidanceConditioner
from imagen.stages.distillation.student import StudentStage

IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
TEXT = TextSignal(torch.randn(6, 2, 8, generator=torch.Generator().manual_seed(1)), torch.ones(6, 2) > 0)
BATCH = Batch(IMAGES, TEXT.values, TEXT.mask, torch.arange(6), ("",) * 6, 0)
UP_TO = 8.0
SPACING = {"_target_": "imagen.diffusion.spacing.UniformTime"}
STATIC = {"_target_": "imagen.diffusion.thresholding.StaticThresholding"}
CONDITIONER = {
    "_target_": "imagen.stages.distillation.guidance_conditioner.GuidanceConditioner",
    "others": {"_target_": "imagen.stages.conditioners.TextConditioner"},
    "up_to": UP_TO,
}


def told_denoiser() -> dict:
    """The configuration of a denoiser that is told a guidance weight."""
    config = denoiser_config(low_res=False)
    config["network"]["guidance"] = True
    return config


def export_teacher(folder: Path, **changes: object) -> Path:
    """A base stage as any other, of 8 × 8 pixels."""
    export_random_stage(folder, "base", 8, None, **changes)
    return folder


def export_student(folder: Path, steps: int | None, up_to: float = UP_TO, **changes: object) -> Path:
    """A base stage that was distilled before."""
    spacing = None if steps is None else SPACING
    record = {"teacher": "0" * 64, "up_to": up_to, "steps": steps, "spacing": spacing, "thresholding": STATIC}
    conditioner = CONDITIONER | {"up_to": up_to}
    return export_teacher(
        folder, **{"denoiser": told_denoiser(), "conditioner": conditioner, "distilled": record, **changes}
    )


def student_of(teacher: Path | str | None, steps: int | None = None, **changes: object) -> StudentStage:
    """A student with random weights of its own."""
    torch.manual_seed(1)
    stage = {
        "name": "base",
        "denoiser": instantiate_stage_part(told_denoiser()),
        "conditioner": GuidanceConditioner(TextConditioner(), UP_TO),
        "schedule": CosineSchedule(),
        "optimizer": partial(torch.optim.AdamW, lr=1e-3),
        "resolution": 8,
        "spacing": UniformTime(),
        "thresholding": StaticThresholding(),
    }
    return StudentStage(None if teacher is None else str(teacher), steps, **(stage | changes))


def fit(stage: StudentStage, folder: Path, steps: int, resume: str | None = None, start: int = 0) -> StudentStage:
    trainer = Trainer(
        max_steps=steps, default_root_dir=folder, logger=False, accelerator="cpu", enable_progress_bar=False,
        enable_checkpointing=False, val_check_interval=2, check_val_every_n_epoch=None,
    )  # fmt: skip
    batches = TensorBatches(IMAGES, TEXT, batch_size=4, start=start)
    trainer.fit(stage, batches, DataLoader([BATCH], batch_size=None), ckpt_path=resume, weights_only=True)
    trainer.save_checkpoint(folder / "last.ckpt")
    return stage
