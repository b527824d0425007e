"""Distillation by the commands: two students in turn, and what they make; every experiment for two steps."""

import json
from pathlib import Path

import pytest
import torch
from in_this_process import call_here
from lightning import Trainer
from png_settings import read_settings
from small_configurations import SMALL, TINY_NETWORK, options

from imagen.app.export import export
from imagen.app.train import train
from imagen.data.tensor_batches import TensorBatches
from imagen.diffusion.conditioning import TextSignal
from imagen.diffusion.samplers import DDIMSampler, DPMSolverPP2M
from imagen.instantiation import instantiate
from imagen.places import ROOT
from imagen.runs.fine_tuning import begin_with
from imagen.stages.distillation.record import Distilled, _warn, warn_of_another_sampler
from imagen.stages.export import read_description

SHIPPED = ROOT / "assets" / "cascade"
THRESHOLDING = {"_target_": "imagen.diffusion.thresholding.DynamicThresholding", "percentile": 0.995}
SPACING = {"_target_": "imagen.diffusion.spacing.UniformTime"}
EVERY = {"up_to": 8.0, "thresholding": THRESHOLDING}
QUICK = [
    *SMALL[len(TINY_NETWORK) :], "resolutions=[16,64,256]", "callbacks=minimal", "logger=none",
    "trainer.limit_val_batches=1", "trainer.val_check_interval=2", "trainer.max_steps=2",
]  # fmt: skip


@pytest.mark.slow
def test_students_of_what_is_shipped_export_and_sample_by_the_commands(compose_config, tmp_path):
    config = compose_config("train", "experiment=distil_base", *QUICK, "name=distil_guided")
    train(config)
    guided = Path(config.run_dir, "export")
    config = compose_config("train", "experiment=distil_base_steps", *QUICK, "name=two", "stage.steps=2")
    train(config)
    halved = Path(config.run_dir, "export")
    said, first = json.loads((halved / "config.json").read_text()), read_description(guided)
    shipped = read_description(SHIPPED / "base").weights_sha256
    assert first.distilled == EVERY | {"teacher": shipped, "steps": None, "spacing": None}
    assert said["distilled"] == EVERY | {"teacher": first.weights_sha256, "steps": 2, "spacing": SPACING}
    assert said["init_from"] == first.weights_sha256
    again = export(Path(config.run_dir), tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (again / name).read_bytes() == (halved / name).read_bytes()
    card = (halved / "README.md").read_text()
    told = "made for 2 steps of DDIM, one pass each, and guidance weights of 1 to 8"
    assert f"weights `{first.weights_sha256[:12]}…`: {told}" in card
    made_for = ["sampling.base.sampler=ddim", "sampling.base.sampler.num_steps=2"]
    assert card.rstrip("`\n").endswith(" ".join(made_for))
    assert_samples(tmp_path, made_for)


def assert_samples(tmp_path: Path, made_for: list[str]) -> None:
    paths = [f"paths.{name}={tmp_path / name}" for name in ("runs", "cache", "outputs")]
    asked = ["prompt=a red circle", "count=1", "cascade.runs=[two]", "cascade.device=cpu", *paths, *made_for]
    done = call_here("sample.py", *asked, "guidance_weights=[8]", f"out={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert "distilled" not in done.stderr
    (picture,) = (tmp_path / "out" / "base").glob("*.png")
    assert [stage["guidance_weight"] for stage in read_settings(picture)["stages"]] == [8.0]
    done = call_here("sample.py", *asked, "guidance_weights=[9]")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: stage 'base': guidance weight 9: this stage was distilled with weights of 1")


@pytest.mark.parametrize("experiment", [name for name in options("experiment") if name.startswith("distil_")])
def test_every_experiment_takes_two_steps_from_what_is_shipped(experiment, compose_config):
    teacher = SHIPPED / experiment.split("_")[1]
    stage = instantiate(compose_config("train", f"experiment={experiment}", f"init_from={teacher}").stage)
    begin_with(stage, teacher, read_description(teacher).text)
    images = torch.rand(2, 3, stage.resolution, stage.resolution, generator=torch.Generator().manual_seed(0)) * 2 - 1
    text = TextSignal(torch.ones(2, 3, 256), torch.ones(2, 3, dtype=torch.bool))
    before = [weight.clone() for weight in stage.denoiser.parameters()]
    Trainer(max_steps=2, barebones=True, accelerator="cpu").fit(stage, TensorBatches(images, text, batch_size=2))
    assert not all(map(torch.equal, before, stage.denoiser.parameters()))


def test_a_student_that_is_sampled_in_another_way_says_so_once(caplog):
    made_for = Distilled("0" * 64, 8.0, 4, SPACING, {})
    _warn.cache_clear()
    warn_of_another_sampler(None, "base", DDIMSampler(3))
    warn_of_another_sampler(made_for, "base", DDIMSampler(4))
    warn_of_another_sampler(Distilled("0" * 64, 8.0, None, None, {}), "base", DDIMSampler(3))
    assert caplog.messages == []
    for sampler in (DDIMSampler(3), DPMSolverPP2M(4)):
        warn_of_another_sampler(made_for, "base", sampler)
    said = "stage 'base' was distilled to 4 steps of DDIM and is sampled in another way"
    assert caplog.messages == [f"{said}: sampling.base.sampler=ddim sampling.base.sampler.num_steps=4"]
