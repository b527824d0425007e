"""Compose the real configuration, small enough for a test."""

import os

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from imagen.commandline.command import prepare_environment
from imagen.places import ROOT


@pytest.fixture(scope="session", autouse=True)
def environment():
    prepare_environment()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # One thread each, here and in the processes that tests start: sums of more depend on how many there are, and pytest
    # runs one worker for each core.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture
def compose_config(tmp_path):
    """compose_config("train", "stage=sr1") with runs, cache and outputs below the test's own folder."""

    def composed(entry: str, *overrides: str) -> DictConfig:
        paths = [f"paths.{name}={tmp_path / name}" for name in ("runs", "cache", "outputs")]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return compose(entry, overrides=[*paths, *overrides], return_hydra_config=False)

    return composed
