"""Faults that would end a training late are refused before pictures are checked and captions are encoded."""

import shutil
from pathlib import Path

import pytest
import torch
from small_configurations import SMALL, options

from imagen.app.train import train
from imagen.data.module import ImagenDataModule
from imagen.diffusion.conditioning import Conditioning
from imagen.errors import UserError
from imagen.instantiation import instantiate
from imagen.places import ROOT
from imagen.runs.folder import RunFolder
from imagen.runs.rehearsal import rehearse_stage
from imagen.stages.conditioners import TextConditioner

QUIET = [*SMALL, "callbacks=minimal", "logger=none", "trainer.limit_val_batches=0"]


@pytest.fixture
def nothing_long(monkeypatch):
    """Fails the test as soon as pictures would be checked and captions encoded."""
    monkeypatch.setattr(ImagenDataModule, "prepare_data", lambda data: pytest.fail("the long work has begun"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stage.lr_schedule.warmup_steps=-1"], r"warmup_steps=-1 and total_steps=2 must be 0 or more"),
        (["stage.optimizer.lr=-1"], r"stage\.optimizer cannot be built"),
        (["stage/optimizer=muon", "stage.optimizer.momentum=1"], r"stage\.optimizer cannot be built"),
        (["stage.ema_decay=1.0"], r"ema_decay must be in"),
        (["resolutions=[9,18,36]"], r"images of 9 x 9: each side must be a multiple of 2"),
        (["data.crop_size=7"], r"images of 7 x 7: each side must be a multiple of 2"),
        (["stage=sr1", "data.crop_size=7"], r"data\.crop_size=7 of a stage that enlarges 2 times must be a multiple"),
        (["stage/network=sr_micro"], r"needs a low-resolution image but was given none: is it the right stage"),
        (["stage=sr1", "stage/network=base_micro"], r"this network takes no low-resolution image but was given one"),
        (["stage.denoiser.network.text_features=7"], r"does not take pictures of 8 x 8 with text of 256 features"),
        (
            ["stage=base_self_conditioned", "trainer=fsdp_sim", "trainer.devices=1", "data.batch_size=1"],
            r"data\.batch_size=1 under trainer=fsdp: of 0\.5 of the pictures .* set data\.batch_size=2",
        ),
        (["callbacks.best.monitor=val/los"], r"a checkpoint monitors val/los: nothing logs it; choose val/loss"),
        (["callbacks=default", "callbacks.samples.weights=[]"], r"a grid of 2 prompts and the weights \[\] is empty"),
        (["callbacks=default", "callbacks.samples.num_prompts=0"], r"a grid of 0 prompts"),
        (["callbacks=default", "callbacks.samples.weights=[-1]"], r"guidance weight is -1"),
        (["callbacks=default", "callbacks.samples.sampler.num_steps=0"], r"num_steps of the sampler is 0"),
        (["callbacks=default", "callbacks.samples.aug_level=2.0"], r"aug_level=2.0 must be in"),
        (["stage=base_with_picture"], r"the stage is conditioned on pictures and the data give none"),
        (
            ["stage=base_with_picture", "data.train.outlines=true", "data.validation.outlines=false"],
            r"the stage is conditioned on pictures and the data give none",
        ),
        (
            ["stage=base_with_picture", "stage.denoiser.network.concatenated=[]"],
            r"this network reads no image signal beside the noisy image but was given the image signals condition",
        ),
        (["data.validation.size=1", "trainer.devices=2"], r"1 pictures for validation, fewer than the 2 processes"),
    ],
)
def test_it_is_refused_before_the_long_work(overrides, message, compose_config, nothing_long):
    config = compose_config("train", *QUIET, *overrides)
    with pytest.raises(UserError, match=message):
        train(config)
    assert not Path(config.run_dir, "config.yaml").exists()


def test_dropping_text_that_the_conditioner_does_not_give_is_refused_before_the_long_work(
    compose_config, nothing_long, monkeypatch
):
    # A network that reads no text takes what such a conditioner gives.
    monkeypatch.setattr(TextConditioner, "for_training", lambda *args: Conditioning())
    monkeypatch.setattr("imagen.diffusion.denoiser.Denoiser.forward", lambda *args: None)
    with pytest.raises(UserError, match=r"text_dropout=0\.1: TextConditioner gives no signal 'text' to drop"):
        train(compose_config("train", *QUIET))


def test_an_encoder_without_its_weights_is_refused_before_the_pictures_are_checked(
    compose_config, nothing_long, tmp_path
):
    """Fetched, and not yet converted."""
    folder = shutil.copytree(ROOT / "assets" / "shapes_t5", tmp_path / "t5")
    (folder / "model.safetensors").unlink()
    for mode in ("online", "cached"):
        with pytest.raises(UserError, match=r"model\.safetensors is missing: .* `imagen convert "):
            train(compose_config("train", *QUIET, f"text.encoder.path={folder}", f"text.mode={mode}"))


def test_a_checkpoint_that_does_not_fit_is_refused_before_the_long_work(compose_config, monkeypatch):
    train(compose_config("train", *QUIET, "trainer.max_steps=1"))
    kept = RunFolder(Path(compose_config("train", *QUIET).run_dir)).path / "config.yaml"
    before = kept.read_bytes()
    monkeypatch.setattr(ImagenDataModule, "prepare_data", lambda data: pytest.fail("the long work has begun"))
    for changed, message in (
        (
            "data.batch_size=3",
            "the run to resume has seen 4 pictures, which is not a multiple of the global batch size",
        ),
        ("stage.denoiser.network.embedding_features=64", "the checkpoint is of another network"),
    ):
        key = changed.partition("=")[0]
        with pytest.raises(UserError, match=message):
            train(compose_config("train", *QUIET, changed, f"may_change=[{key}]"))
    assert kept.read_bytes() == before  # the run was not trained under any of these


@pytest.mark.parametrize("network", options("stage/network"))
def test_every_network_takes_its_step_on_the_meta_device(network, compose_config):
    published = {"base_300m": 0, "base_2b": 0, "sr256_600m": 1, "sr1024_400m": 2}
    sizes = ["resolutions=[64,256,1024]"] if network in published else []
    stage = ["base", "sr1", "sr2"][published.get(network, int("sr" in network))]
    stage = "prior" if network.startswith("prior") else stage
    config = compose_config("train", f"stage={stage}", f"stage/network={network}", *sizes, "trainer.accelerator=cpu")
    with torch.device("meta"):
        built = instantiate(config.stage)
    built.conditioner, built.schedule = instantiate(config.stage.conditioner), instantiate(config.stage.schedule)
    rehearse_stage(config, built, instantiate(config.trainer, logger=False))
