"""The commands as a user calls them: wrong calls get one line and the right exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imagen.app.command import ROOT

OFFLINE = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def call(entry: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / entry), *arguments],
        capture_output=True, text=True, timeout=300, cwd=ROOT, env=os.environ | OFFLINE, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("entry", ["train.py", "sample.py", "evaluate.py"])
def test_help_shows_real_commands(entry):
    done = call(entry, "--help")
    assert done.returncode == 0
    assert done.stdout.count(f"python {entry} ") >= 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["stage.optimizer.lrr=1"], "lrr"),
        (["stage=bass"], "did you mean base"),
        (["data=image_folder"], "data.path"),
        (["stage.optimizer.lr=[1"], "lr"),
    ],
)
def test_a_wrong_configuration_gets_one_line_and_exit_code_2(arguments, expected):
    done = call("train.py", *arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_traceback_is_shown_only_when_asked_for():
    done = call("train.py", "debug=true", "stage.optimizer.lrr=1")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_help_imports_nothing_heavy():
    loaded = "import sys; from imagen.app.command import command; command('train'); import hydra; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "lightning", "transformers", "numpy"} & set(modules)
    assert Path(ROOT / "conf").is_dir()
