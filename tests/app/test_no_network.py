"""Training, sampling and evaluation open no connection, nor do their child processes."""

import re
import socket
import time
from pathlib import Path

import pytest
from small_configurations import TINY_NETWORK
from small_stages import export_readers_of_shapes_t5

from imagen.app.evaluate import evaluate
from imagen.app.sample import sample
from imagen.app.train import train
from imagen.commandline.command import run_reporting_errors

FAST = ["sampler.num_steps=1", "sr_sampler.num_steps=1", "cascade.device=cpu"]


@pytest.fixture
def attempts(monkeypatch, tmp_path):
    """A file with a line for every attempt to connect or to look up a name, in this process or one forked from it;
    each attempt fails."""
    found = tmp_path / "attempts"
    found.touch()

    def refused(original):
        def call(*arguments, **options):
            # Loader workers talk to their parent by sockets that have no network.
            if isinstance(arguments[0], socket.socket) and arguments[0].family == socket.AF_UNIX:
                return original(*arguments, **options)
            with found.open("a") as file:
                file.write(f"{arguments}\n")
            raise OSError("no network in this test")

        return call

    for holder, name in (
        (socket.socket, "connect"),
        (socket.socket, "connect_ex"),
        (socket.socket, "sendto"),
        (socket, "getaddrinfo"),
    ):
        monkeypatch.setattr(holder, name, refused(getattr(holder, name)))
    return found


def test_what_is_watched_is_what_a_connection_needs(attempts):
    with pytest.raises(OSError, match="no network in this test"):
        socket.create_connection(("localhost", 9))
    assert attempts.read_text()


def test_training_sampling_and_evaluating_open_no_connection(attempts, compose_config, tmp_path):
    train(
        compose_config(
            "train", *TINY_NETWORK, "debug=default", "data.batch_size=4", "data.train.size=16",
            "data.validation.size=4", "data.num_workers=1", "text.mode=online", "resolutions=[8,16,32]",
            "trainer.accelerator=cpu",
        )
    )  # fmt: skip
    stages = f"cascade.stages=[{','.join(export_readers_of_shapes_t5(tmp_path / 'stages'))}]"
    sample(compose_config("sample", *FAST, "prompt=a red circle", "count=1", stages, f"out={tmp_path}/out"))
    evaluate(
        compose_config(
            "evaluate", *FAST, stages, "prompts.count=4", "block_size=4", "guidance.weights=[1]",
            "metrics.reference.count=8", "grid_prompts=1", f"out={tmp_path}/evaluation",
        )
    )  # fmt: skip
    assert Path(tmp_path, "out", "grid.png").is_file()
    assert Path(tmp_path, "evaluation", "results.json").is_file()
    assert attempts.read_text() == ""


def test_what_is_absent_is_named_at_once_with_the_command_that_brings_it(attempts, compose_config, capsys):
    config = compose_config("train", "text=t5_small", "data.train.size=64", "trainer.accelerator=cpu")
    begun = time.process_time()
    assert run_reporting_errors(lambda: train(config)) == 3
    assert time.process_time() - begun < 5
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert "text encoder google/t5-v1_1-small is not on this machine" in said
    assert "imagen fetch t5-v1_1-small" in said
    assert re.search(r"\(about \d+ MB, into \S+\)", said)
    assert attempts.read_text() == ""
