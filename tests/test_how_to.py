"""The code of the how-to pages, written to the files that the pages name, and run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from imagen.places import ROOT

BLOCK = re.compile(r'^```python title="([\w./]+)"\n(.*?)^```', re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = {"add_a_sampler": 3, "add_a_signal": 5}
"""Page, and the largest number of files that what it adds may take."""


def written(page: str, folder: Path) -> list[str]:
    """The names of the files of a page, written below `folder`."""
    blocks = BLOCK.findall((ROOT / "docs" / "how-to" / f"{page}.md").read_text(encoding="utf-8"))
    for name, code in blocks:
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(code, encoding="utf-8")
    return [name for name, _ in blocks]


def run(command: list[str], folder: Path, cwd: Path) -> None:
    path = os.pathsep.join([str(folder), str(ROOT / "src")])
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs_and_passes_its_own_tests(page, tmp_path):
    names = written(page, tmp_path)
    tests = [name for name in names if name.startswith("test_")]
    assert tests
    assert len(names) <= PAGES[page]
    run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], tmp_path, tmp_path)


@pytest.mark.parametrize("page", PAGES)
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
