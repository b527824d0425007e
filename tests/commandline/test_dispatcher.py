"""`imagen`, the one command: what it lists, that it is quick, and that it is each of the others."""

import os
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module

import pytest

from imagen.commandline.dispatcher import COMMANDS
from imagen.places import ROOT

CALL = "from imagen.commandline.dispatcher import main; main()"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def imagen(*arguments: str, cwd=ROOT, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", CALL, *arguments],
        capture_output=True, text=True, timeout=300, cwd=cwd, env=os.environ | ENVIRONMENT | environment, check=False,
    )  # fmt: skip


def test_it_is_installed_under_its_name():
    module, function = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["imagen"].split(":")
    assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("asked", ["--help", "-h", "help"])
def test_help_lists_every_command_and_needs_no_slow_library(asked):
    slow = "import sys; sys.modules.update(dict.fromkeys(['torch', 'lightning', 'transformers']));"
    done = subprocess.run([sys.executable, "-c", slow + CALL, asked], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert all([name, *command.purpose.split()] in lines for name, command in COMMANDS.items())


def test_without_a_command_it_shows_its_usage_and_exits_with_2():
    done = imagen()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: imagen COMMAND")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("trian", "did you mean train?"),
        ("train_judge", "did you mean train-judge or train?"),
        ("\x1b[31mx", "imagen --help lists the commands"),
    ],
)
def test_an_unknown_command_gets_one_line_with_what_is_near_and_exit_code_2(name, hint):
    done = imagen(name, "stage=base")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: no command '")
    assert done.stderr.endswith(f"{hint}\n")
    assert "\x1b" not in done.stderr


def test_its_commands_are_those_of_the_scripts_from_any_folder(tmp_path):
    script = subprocess.run([sys.executable, ROOT / "train.py", "--help"], capture_output=True, text=True, check=True)
    assert imagen("train", "--help", cwd=tmp_path).stdout == script.stdout
    refused = imagen("train", "stage.optimizer.lrr=1", cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "did you mean stage.optimizer.lr?" in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_exit_codes_are_those_of_the_command(tmp_path):
    assert imagen("fetch", "--list", "--to", str(tmp_path)).returncode == 0
    assert imagen("export", str(tmp_path)).stderr.startswith(f"error: {tmp_path} is not the folder of a run")
    assert imagen("train-judge", "out=~nobody-here/a", "data.path=/pictures").returncode == 2
    absent = imagen(
        "train", "text=t5_xxl", f"paths.models={tmp_path}", f"paths.cache={tmp_path}", HF_HOME=str(tmp_path)
    )
    assert absent.returncode == 3


@pytest.mark.slow
def test_a_training_of_two_processes_starts_the_other_by_the_script(tmp_path):
    from small_configurations import SMALL

    small = [*SMALL, "callbacks=minimal", "logger=none", "trainer.limit_val_batches=0", "trainer.max_steps=1"]
    done = imagen("train", *small, "trainer=ddp_sim", f"paths.runs={tmp_path}", f"paths.cache={tmp_path}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "base" / "debug" / "export" / "model.safetensors").is_file()


def test_an_installation_without_the_checkout_says_so_in_one_line(tmp_path):
    shutil.copytree(ROOT / "src" / "imagen", tmp_path / "lib" / "imagen", ignore=shutil.ignore_patterns("__pycache__"))
    done = imagen("train", "stage=base", cwd=tmp_path, PYTHONPATH=str(tmp_path / "lib"))
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert f"there is no {tmp_path / 'conf'}; clone the repository" in done.stderr
    assert imagen("--help", cwd=tmp_path, PYTHONPATH=str(tmp_path / "lib")).returncode == 0
