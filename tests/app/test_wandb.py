"""`logger=wandb` without a network: what it writes, and that a resumed training goes on in the same run."""

import builtins
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from small_configurations import SMALL

from imagen.app.train import train
from imagen.callbacks.wandb_curves import WandbCurves
from imagen.errors import UserError
from imagen.stages.diffusion_stage import DiffusionStage

wandb = pytest.importorskip("wandb")


def test_an_unknown_mode_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "bogus")
    with pytest.raises(UserError, match=r"^logger=wandb: WANDB_MODE='bogus' must be one of online, offline, disabled$"):
        WandbCurves(str(tmp_path), "imagen")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def watched(monkeypatch, tmp_path):
    """Offline, in a home folder of its own; a list of the requests that reach a server in the place of every other."""
    paths: list[str] = []

    class Anything(BaseHTTPRequestHandler):
        def answer(self) -> None:
            paths.append(self.path)
            self.send_error(503)

        do_GET = do_POST = do_CONNECT = answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Anything) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "WANDB_BASE_URL"):
            monkeypatch.setenv(name, address)
        monkeypatch.setenv("WANDB_MODE", "offline")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        yield paths
        server.shutdown()


def records(folder: Path) -> list[tuple[str, dict]]:
    """(id of the run, what was logged at one step) of every file of wandb's, oldest first."""
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    rows = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime):
        store = DataStore()
        store.open_for_scan(str(path))
        identity = path.stem.removeprefix("run-")
        while (content := store.scan_data()) is not None:
            record = Record.FromString(content)
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                row = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
                rows.append((identity, row))
    return rows


def written_records(folder: Path, steps: int) -> list[tuple[str, dict]]:
    """The same once the last step is there: on a busy machine wandb's own process was seen to write after `finish`."""
    until = time.monotonic() + 20
    while True:
        rows = records(folder)
        if any(row["_step"] == steps for _, row in rows) or time.monotonic() > until:
            return rows
        time.sleep(0.2)


@pytest.fixture
def run(compose_config):
    """run("name") is the configuration of seven steps with a checkpoint every two."""

    def composed(name: str):
        return compose_config(
            "train", *SMALL, "logger=wandb", "logger.tensorboard=null", "callbacks.last.every_n_train_steps=2",
            "trainer.max_steps=7", "trainer.val_check_interval=4", "callbacks.samples.every_n_steps=7", f"name={name}",
        )  # fmt: skip

    return composed


def test_a_resumed_training_goes_on_in_the_same_run_and_nothing_is_sent(run, watched, monkeypatch, capfd):
    config = run("mine")
    step = DiffusionStage.training_step

    def signalled(self, batch, batch_idx):
        if batch.position == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(DiffusionStage, "training_step", signalled)
        with pytest.raises(SystemExit):
            train(config)
    train(config)
    folder = Path(config.run_dir)
    assert f"curves: {folder / 'wandb'}" in capfd.readouterr().out
    rows = written_records(folder, steps=7)
    assert len({identity for identity, _ in rows}) == 1
    assert rows[0][0] == (folder / "wandb" / "id.txt").read_text()
    assert [row["_step"] for _, row in rows if "train/loss" in row] == [1, 2, 3, 4, 5, 6, 7]
    assert [row["_step"] for _, row in rows if "val/loss" in row] == [4]
    pictures = [row["samples.path"] for _, row in rows if "samples.path" in row]
    assert len(pictures) == 1
    assert len(list(folder.glob(f"wandb/offline-run-*/files/{pictures[0]}"))) == 1
    assert watched == []


def test_a_new_training_is_a_new_run(run, watched):
    for name in ("one", "other"):
        train(run(name))
    ids = {Path(run(name).run_dir, "wandb", "id.txt").read_text() for name in ("one", "other")}
    assert len(ids) == 2


def test_without_the_package_there_is_one_line_that_says_how_to_install_it(run, monkeypatch):
    original = builtins.__import__

    def absent(name, *arguments, **options):
        if name == "wandb":
            raise ModuleNotFoundError("No module named 'wandb'", name="wandb")
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UserError, match=r"logger=wandb needs the package wandb.*: pip install -e '\.\[wandb\]'"):
        train(run("mine"))


def test_without_a_login_there_is_one_line_that_says_what_to_do(run, watched, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(UserError, match=r"logger=wandb: .*`wandb login`, or set WANDB_MODE=offline") as refused:
        train(run("mine"))
    assert "\n" not in str(refused.value)


def test_training_does_not_import_it_unless_asked():
    code = "import sys, imagen.app.train; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
