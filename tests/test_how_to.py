"""The code of the how-to pages, written to the files that the pages name, and run."""

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from imagen.diffusion.conditioning import Conditioning, TextSignal
from imagen.diffusion.noise_level import NoiseLevel
from imagen.places import ROOT

BLOCK = re.compile(r'^```python title="([\w./]+)"\n(.*?)^```', re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = {"add_a_sampler": 3, "add_a_signal": 5}
"""Page, and the largest number of files that what it adds may take."""

PROGRAMS = "come_from_imagen_pytorch"
SMALL = {
    "SIZES = (64, 256)": "SIZES = (16, 32)",
    "SIZES = (64, 128)": "SIZES = (16, 32)",
    "TRAINING_STEPS = 100_000": "TRAINING_STEPS = 2",
    "SAMPLING_STEPS = 1000": "SAMPLING_STEPS = 2",
    "COUNT = 16": "COUNT = 3",
    "BATCH, MICRO_BATCH = 64, 4": "BATCH, MICRO_BATCH = 8, 4",
    "FEATURES = 768": "FEATURES = 24",
}
"""What its programs say, and what they are run with."""


def written(page: str, folder: Path, changes: Mapping[str, str] | None = None) -> list[str]:
    """The names of the files of a page, written below `folder`, with `changes` of the text: each is made."""
    text = (ROOT / "docs" / "how-to" / f"{page}.md").read_text(encoding="utf-8")
    for said, wanted in (changes or {}).items():
        assert text.count(said) == 1, said
        text = text.replace(said, wanted)
    blocks = BLOCK.findall(text)
    for name, code in blocks:
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(code, encoding="utf-8")
    return [name for name, _ in blocks]


def run(command: list[str], folder: Path, cwd: Path) -> str:
    path = os.pathsep.join([str(folder), str(ROOT / "src")])
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs_and_passes_its_own_tests(page, tmp_path):
    names = written(page, tmp_path)
    tests = [name for name in names if name.startswith("test_")]
    assert tests
    assert len(names) <= PAGES[page]
    run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], tmp_path, tmp_path)


def test_the_rule_of_the_page_on_guidance_guides_clean_pictures_alone(tmp_path):
    (name,) = written("choose_a_guidance_rule", tmp_path)
    rule = runpy.run_path(str(tmp_path / name))["CleanGuidance"]
    z, told = torch.zeros(2, 3, 4, 4), Conditioning(text=TextSignal.none(2, 4))
    level = NoiseLevel(torch.tensor([-20.0, 20.0]))

    def denoise(z, level, conditioning):
        return torch.full_like(z, 1.0 if conditioning is told else 0.5)

    guided = rule(weight=3.0, batched=False)(denoise, z, level, told)
    torch.testing.assert_close(guided.mean(dim=(1, 2, 3)), torch.tensor([1.0, 2.0]))


@pytest.mark.slow
def test_the_programs_for_those_who_come_from_imagen_pytorch_make_pictures(tmp_path):
    names = written(PROGRAMS, tmp_path, SMALL)
    together = f"import runpy\nfor name in {names}: runpy.run_path(name, run_name='__main__')"
    printed = run([sys.executable, "-c", together], tmp_path, tmp_path)
    shapes = re.findall(r"torch\.Size\(\[(.*)\]\)", printed)
    assert shapes == ["4, 3, 32, 32", "4, 3, 16, 16", "3, 3, 32, 32"]
    checkpoint = torch.load(tmp_path / "base.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2  # of four micro-batches


def test_the_keys_in_the_tables_for_those_who_come_from_imagen_pytorch_exist(compose_config):
    page = (ROOT / "docs" / "how-to" / f"{PROGRAMS}.md").read_text(encoding="utf-8")
    rooms = "stage|data|trainer|callbacks|text|cascade|sampler|thresholding"
    keys = set(re.findall(rf"`((?:{rooms})\.\w[\w.]*)", page))
    train = ["stage=sr1", "stage/diffusion=edm", "text=t5_base", "data=image_folder", "data.path=/pictures"]
    configs = compose_config("train", *train), compose_config("sample", "sampler=heun")
    absent = object()
    unknown = [key for key in keys if all(OmegaConf.select(c, key, default=absent) is absent for c in configs)]
    assert len(keys) > 15
    assert unknown == []


@pytest.mark.parametrize("page", [*PAGES, PROGRAMS])
def test_the_files_of_a_page_are_formatted_and_pass_the_linter(page, tmp_path):
    names = written(page, tmp_path)
    ruff, options = [sys.executable, "-m", "ruff"], ["--isolated", "--line-length", "100"]
    run([*ruff, "check", *options, "--select", "E,F,I,UP,B", "--ignore", "F722", *names], tmp_path, tmp_path)
    run([*ruff, "format", *options, "--check", *names], tmp_path, tmp_path)


def test_the_new_sampler_samples_by_its_command(tmp_path):
    written("add_a_sampler", tmp_path)
    page = (ROOT / "docs" / "how-to" / "add_a_sampler.md").read_text(encoding="utf-8")
    (command,) = COMMAND.findall(page)
    out = f" cascade.stop_at=base cascade.device=cpu out={tmp_path / 'out'}"
    run(["bash", "-c", command.replace("python", sys.executable, 1).strip() + out], tmp_path, ROOT)
    assert (tmp_path / "out" / "grid.png").is_file()
