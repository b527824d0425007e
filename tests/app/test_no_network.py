"""Training and sampling open no connection."""

import socket
from pathlib import Path

import pytest
from conftest import TINY_NETWORK
from small_stages import export_readers_of_shapes_t5

from imagen.app.sample import sample
from imagen.app.train import train


@pytest.fixture
def attempts(monkeypatch):
    """Every attempt to connect or to look up a name, each of which fails."""
    found = []

    def refuse(*arguments, **options):
        found.append(arguments)
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return found


def test_what_is_watched_is_what_a_connection_needs(attempts):
    with pytest.raises(OSError, match="no network in this test"):
        socket.create_connection(("localhost", 9))
    assert attempts


def test_training_and_sampling_open_no_connection(attempts, compose_config, tmp_path):
    config = compose_config(
        "train", *TINY_NETWORK, "debug=default", "data.batch_size=4", "data.train.size=16", "data.validation.size=4",
        "resolutions=[8,16,32]", "trainer.accelerator=cpu",
    )  # fmt: skip
    train(config)
    stages = ",".join(export_readers_of_shapes_t5(tmp_path / "stages"))
    sample(
        compose_config(
            "sample", "prompt=a red circle", "count=1", "sampler.num_steps=1", "sr_sampler.num_steps=1",
            "cascade.device=cpu", f"cascade.stages=[{stages}]", f"out={tmp_path}/out",
        )
    )  # fmt: skip
    assert Path(tmp_path, "out", "grid.png").is_file()
    assert attempts == []
