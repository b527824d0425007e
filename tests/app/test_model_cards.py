"""The command in a stage's model card works when it is copied to a shell."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_configurations import SMALL

from imagen.app.export import export
from imagen.app.train import train
from imagen.places import ROOT
from imagen.sampling.command import stages_below
from imagen.stages.export import read_description

QUICK = [*SMALL, "callbacks=minimal", "logger=none", "trainer.max_steps=1", "trainer.limit_val_batches=0"]


def command_of(export_folder: Path) -> str:
    (command,) = re.findall(r"`(python sample\.py .*)`", (export_folder / "README.md").read_text())
    return command


@pytest.mark.slow
def test_the_command_of_a_super_resolution_stage_on_a_text_encoder_of_ones_own_runs(compose_config, tmp_path):
    shutil.copytree(ROOT / "assets" / "shapes_t5", tmp_path / "my t5")
    mine = ["text=minilm", f"text.encoder.path='{tmp_path}/my t5'", "text.features=256", "name=mine"]
    exports = {}
    for stage in ("sr1", "base"):  # the stage below is trained last, as in `make demo` it may be
        config = compose_config("train", *QUICK, *mine, f"stage={stage}")
        train(config)
        exports[stage] = Path(config.run_dir) / "export"
    command = command_of(exports["sr1"])
    again = export(exports["sr1"].parent, tmp_path / "again")
    assert command_of(again) == command.replace(str(exports["sr1"]), str(again))
    fast = ["sampler.num_steps=1", "sr_sampler.num_steps=1", "count=1", f"out={tmp_path / 'out'}"]
    done = subprocess.run(
        [sys.executable, *shlex.split(command)[1:], *fast],
        capture_output=True, text=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"stage sr1: {exports['sr1']} (16 × 16" in done.stdout
    assert (tmp_path / "out" / "sr1" / "00000.png").is_file()


def test_the_cards_of_the_shipped_stages_name_the_shipped_cascade():
    for stage, below in (("base", []), ("sr1", ["base"])):
        folder = ROOT / "assets" / "cascade" / stage
        found = stages_below(read_description(folder), folder, ROOT / "no runs")
        assert [path.relative_to(ROOT) for path in found] == [Path("assets/cascade") / name for name in below]
        listed = ",".join(f"assets/cascade/{name}" for name in (*below, stage))
        assert (
            command_of(folder) == f"python sample.py 'prompt=a red circle' 'cascade.stages=[{listed}]' text=shapes_t5"
        )
