"""A stage built from objects and fitted by Lightning's own Trainer: no Hydra, no DataModule, no callback of ours."""

from functools import partial
from itertools import islice

import pytest
import torch
from lightning import Callback, Trainer
from small_stages import denoiser_config
from torch.utils.data import DataLoader

from imagen.data.batch import Batch
from imagen.data.tensor_batches import TensorBatches
from imagen.diffusion.conditioning import Conditioning, TextSignal
from imagen.diffusion.schedules import CosineSchedule
from imagen.errors import UserError
from imagen.instantiation import instantiate_stage_part
from imagen.stages.conditioners import Conditioner, LowResConditioner, TextConditioner
from imagen.stages.continuation import lay_out_as_weights
from imagen.stages.diffusion_stage import DiffusionStage
from imagen.stages.lr import warmup_then_cosine

IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
TEXT = TextSignal(torch.randn(6, 2, 8, generator=torch.Generator().manual_seed(1)), torch.ones(6, 2) > 0)


def make_stage(conditioner: Conditioner | None = None, **changes: object) -> DiffusionStage:
    torch.manual_seed(0)
    denoiser = instantiate_stage_part(denoiser_config(low_res=conditioner is not None))
    optimizer = partial(torch.optim.AdamW, lr=1e-3)
    return DiffusionStage(
        "base", denoiser, conditioner or TextConditioner(), CosineSchedule(), optimizer, **{"resolution": 8, **changes}
    )


def fit(
    stage: DiffusionStage, folder, steps: int = 3, resume: str | None = None, start: int = 0, **options: object
) -> DiffusionStage:
    trainer = Trainer(
        max_steps=steps, default_root_dir=folder, logger=False, accelerator="cpu", enable_progress_bar=False,
        enable_checkpointing=False, val_check_interval=2, check_val_every_n_epoch=None, **options,
    )  # fmt: skip
    batch = Batch(IMAGES, TEXT.values, TEXT.mask, torch.arange(6), ("",) * 6, 0)
    validation = DataLoader([batch], batch_size=None)
    batches = TensorBatches(IMAGES, TEXT, batch_size=4, start=start)
    trainer.fit(stage, batches, validation, ckpt_path=resume, weights_only=True)
    trainer.save_checkpoint(folder / "last.ckpt")
    return stage


def same(one: DiffusionStage, other: DiffusionStage) -> bool:
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("conditioner", [None, LowResConditioner(4, 8, CosineSchedule())], ids=["base", "sr1"])
def test_a_stage_of_objects_trains_the_same_weights_again(conditioner, tmp_path):
    first, again = (fit(make_stage(conditioner), tmp_path) for _ in range(2))
    assert same(first, again)
    assert not same(first, make_stage(conditioner))
    assert not same(first, fit(make_stage(conditioner, seed=1), tmp_path))
    assert first.trainer.callback_metrics.keys() >= {"train/loss", "train/gradient_norm", "val/loss"}
    assert first.averaged().conditioner is first.conditioner


def test_a_stage_of_objects_saves_and_loads_its_checkpoint(tmp_path):
    stage = fit(make_stage(), tmp_path)
    loaded = fit(make_stage(), tmp_path, resume=str(tmp_path / "last.ckpt"))  # three steps are all there are
    assert same(stage, loaded)


def test_a_resumed_run_on_tensors_repeats_an_uninterrupted_one(tmp_path):
    whole = fit(make_stage(), tmp_path, steps=4)
    fit(make_stage(), tmp_path, steps=2)
    step = torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"]
    assert same(whole, fit(make_stage(), tmp_path, steps=4, resume=str(tmp_path / "last.ckpt"), start=step))
    fit(make_stage(), tmp_path, steps=2)
    assert not same(whole, fit(make_stage(), tmp_path, steps=4, resume=str(tmp_path / "last.ckpt")))


class Rates(Callback):
    """The learning rate of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        self.seen.append(optimizer.param_groups[0]["lr"])


def rates(folder, total_steps: int, **options: object) -> list[float]:
    schedule = partial(warmup_then_cosine, warmup_steps=0, total_steps=total_steps)
    callback = Rates()
    fit(make_stage(lr_schedule=schedule), folder, callbacks=[callback], **options)
    return callback.seen


def test_a_longer_run_follows_the_new_schedule_from_its_first_step(tmp_path):
    whole = rates(tmp_path, total_steps=8, steps=4)
    rates(tmp_path, total_steps=2, steps=2)  # it ends at a rate of 0
    resumed = {"steps": 4, "start": 2, "resume": str(tmp_path / "last.ckpt")}
    assert rates(tmp_path, total_steps=8, **resumed) == whole[2:]
    rates(tmp_path, total_steps=8, steps=2)
    assert rates(tmp_path, total_steps=8, **resumed) == whole[2:]


def test_a_schedule_of_another_kind_keeps_its_rate(tmp_path):
    def stage(lr: float) -> DiffusionStage:
        stage = make_stage(lr_schedule=partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5))
        stage.make_optimizer = partial(torch.optim.AdamW, lr=lr)
        return stage

    whole, resumed = Rates(), Rates()
    fit(stage(1e-3), tmp_path, steps=4, callbacks=[whole])
    fit(stage(1e-3), tmp_path, steps=2)
    resume = {"steps": 4, "start": 2, "resume": str(tmp_path / "last.ckpt")}
    fit(stage(1e-3), tmp_path, callbacks=[resumed], **resume)
    assert resumed.seen == whole.seen[2:]
    fit(stage(1e-3), tmp_path, steps=2)
    with pytest.raises(UserError, match=r"rate 0\.001 and cannot resume with 0\.002 under ExponentialLR"):
        fit(stage(2e-3), tmp_path, **resume)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_loader_workers_give_each_batch_once_and_in_order(workers):
    alone = islice(TensorBatches(IMAGES, TEXT, batch_size=4), 2, 9)
    loader = DataLoader(TensorBatches(IMAGES, TEXT, batch_size=4, start=2), batch_size=None, num_workers=workers)
    for expected, batch in zip(alone, loader, strict=False):
        assert batch.position == expected.position
        assert torch.equal(batch.ids, expected.ids)
        assert torch.equal(batch.images, expected.images)


def test_a_loss_that_is_no_number_stops_a_stage_of_objects_too(tmp_path, monkeypatch):
    stage = make_stage()
    healthy = stage.denoiser.loss
    monkeypatch.setattr(stage.denoiser, "loss", lambda *args: healthy(*args) * float("nan"))
    with pytest.raises(UserError, match=r"nothing was updated; ids.*not_finite/step-0000001-rank-0\.json"):
        fit(stage, tmp_path)


def test_text_is_dropped_for_its_share_of_the_images_and_never_in_validation(tmp_path, monkeypatch):
    shares = {"train": [], "validate": []}
    stage = make_stage(text_dropout=0.5)
    for kind, denoiser in (("train", stage.denoiser), ("validate", stage.ema.module)):

        def loss(x0, eps, level, conditioning, kind=kind, real=denoiser.loss):
            shares[kind] += conditioning["text"].mask.any(dim=1).tolist()
            return real(x0, eps, level, conditioning)

        monkeypatch.setattr(denoiser, "loss", loss)
    fit(stage, tmp_path, steps=20)
    assert 0.3 < sum(shares["train"]) / len(shares["train"]) < 0.7
    assert len(shares["validate"]) > 6
    assert all(shares["validate"])


class Nothing(Conditioner):
    def for_training(self, batch, generator):
        return Conditioning()

    def for_sampling(self, given, resolution, aug_level, generators):
        return Conditioning()


def test_text_that_is_not_there_cannot_be_dropped(tmp_path):
    stage = make_stage()
    stage.conditioner = Nothing()
    with pytest.raises(UserError, match=r"text_dropout=0\.1: Nothing gives no signal 'text' .* stage\.text_dropout=0$"):
        fit(stage, tmp_path, num_sanity_val_steps=0)


def test_a_stage_that_knows_no_text_needs_none(tmp_path):
    class Blind(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def forward(self, z, log_snr, conditioning):
            assert not conditioning
            return self.scale * z

    stage = make_stage(text_dropout=0.0)
    stage.conditioner, stage.denoiser.network = Nothing(), Blind()
    stage.ema = type(stage.ema)(stage.denoiser, 0.9)
    fit(stage, tmp_path)
    assert stage.denoiser.network.scale != 1


def test_captions_and_images_in_memory_must_be_as_many():
    with pytest.raises(UserError, match="6 captions for 5 images"):
        TensorBatches(IMAGES[:5], TEXT)
    with pytest.raises(UserError, match="the training set is empty"):
        TensorBatches(IMAGES[:0])
    with pytest.raises(UserError, match="start=-1 must be a whole number of at least 0"):
        TensorBatches(IMAGES, TEXT, start=-1)


def test_a_state_that_lies_otherwise_in_memory_is_laid_out_as_its_weight():
    """A fused optimizer would pair its elements with other weights, without a word."""
    torch.manual_seed(0)
    stepped = []
    for layout in (torch.channels_last, torch.contiguous_format):
        values = torch.linspace(0, 1, 4 * 3 * 9).reshape(4, 3, 3, 3)
        weight = torch.nn.Parameter(values.to(memory_format=torch.channels_last))
        optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
        for gradient in torch.randn(2, 4, 3, 3, 3, generator=torch.Generator().manual_seed(0)):
            for name, value in optimizer.state[weight].items():
                optimizer.state[weight][name] = value.contiguous(memory_format=layout) if value.ndim == 4 else value
            lay_out_as_weights(optimizer)
            weight.grad = gradient.to(memory_format=torch.channels_last)
            optimizer.step()
        stepped.append(weight.detach())
    assert torch.equal(*stepped)
