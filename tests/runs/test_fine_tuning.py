"""Starting a run from the weights of an exported stage."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_configurations import SMALL
from small_stages import TEXT, denoiser_config, export_random_stage

from imagen.app.export import export
from imagen.app.train import train
from imagen.diffusion.schedules import CosineSchedule
from imagen.errors import UserError
from imagen.instantiation import instantiate_stage_part
from imagen.runs.fine_tuning import begin_with
from imagen.stages.conditioners import TextConditioner
from imagen.stages.diffusion_stage import DiffusionStage
from imagen.stages.self_conditioner import SelfConditioner


@pytest.fixture
def trained(compose_config):
    config = compose_config("train", *SMALL, "name=first")
    train(config)
    return Path(config.run_dir) / "export"


def still(*overrides: str) -> list[str]:
    """A run whose steps change nothing, so that its weights are those it started from."""
    return [*SMALL, "name=second", "stage.optimizer.lr=0", "trainer.max_steps=1", *overrides]


def test_weights_and_average_start_where_the_export_ended(trained, compose_config):
    config = compose_config("train", *still(f"init_from={trained}"))
    train(config)
    run = Path(config.run_dir)
    first, second = load_file(trained / "model.safetensors"), load_file(run / "export" / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(torch.equal(first[name], checkpoint["state_dict"][f"denoiser.{name}"]) for name in first)


def test_exports_say_whose_weights_they_started_from(trained, compose_config):
    config = compose_config("train", *still(f"init_from={trained}"))
    train(config)
    said = json.loads((trained / "config.json").read_text())
    assert said["init_from"] is None
    for folder in (Path(config.run_dir) / "export", export(Path(config.run_dir), Path(config.run_dir) / "again")):
        assert json.loads((folder / "config.json").read_text())["init_from"] == said["weights_sha256"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["init_from={missing}"], "no exported stage"),
        (["init_from={trained}", "stage.denoiser.network.embedding_features=64"], "another network than this run's"),
        (["init_from={trained}", "stage/diffusion=imagen_eps"], "predicts by VPrediction, this run's by EpsPrediction"),
        (
            ["init_from={trained}", "text.encoder.max_length=64"],
            r"encoder than this run's \(max_length: 128, here 64\)",
        ),
    ],
)
def test_a_stage_that_does_not_fit_is_refused(overrides, message, trained, tmp_path, compose_config):
    places = {"trained": trained, "missing": tmp_path / "missing"}
    config = compose_config("train", *still(*(override.format(**places) for override in overrides)))
    with pytest.raises(UserError, match=message):
        train(config)


def test_a_network_that_only_its_shapes_have_in_common_is_refused(trained, compose_config):
    """Two heads of 16 channels have the weights of one of 32, which mean something else to them."""
    config = compose_config("train", *still(f"init_from={trained}"))
    level = config.stage.denoiser.network.levels[0]
    level.attention.head_channels = 16
    with pytest.raises(UserError, match=r"another network .*heads is 1, here 2; choose its stage/network"):
        train(config)
    level.attention.head_channels = 32
    config.stage.denoiser.network.checkpointing = True  # says how it is computed, not what
    train(config)


def test_another_signal_in_the_same_place_is_refused(tmp_path):
    """Weights that read an outline would read an estimate as one."""

    def config(signal):
        config = denoiser_config(low_res=False)
        config["network"]["concatenated"] = [signal]
        return config

    outlines = {
        "_target_": "imagen.stages.conditioners.PictureConditioner",
        "others": {"_target_": "imagen.stages.conditioners.TextConditioner"},
    }
    export_random_stage(tmp_path, "base", 8, None, denoiser=config("condition"), conditioner=outlines)
    stage = DiffusionStage(
        "base",
        instantiate_stage_part(config("estimate")),
        SelfConditioner(TextConditioner()),
        CosineSchedule(),
        torch.optim.SGD,
        resolution=8,
    )
    with pytest.raises(UserError, match=r"concatenated is \('condition',\), here \('estimate',\); choose"):
        begin_with(stage, tmp_path, TEXT)


def test_a_resumed_run_keeps_its_own_weights_and_its_start(trained, compose_config):
    train(compose_config("train", *still(f"init_from={trained}")))
    config = compose_config(
        "train", *still(f"init_from={trained}"), "trainer.max_steps=2", "stage.lr_schedule.total_steps=9"
    )
    (trained / "model.safetensors").unlink()  # nobody looks there again
    train(config)
    with pytest.raises(UserError, match="started with init_from="):
        train(compose_config("train", *still(), "trainer.max_steps=3"))
