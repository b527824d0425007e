"""`~` is the home folder in every path that a user gives."""

import json
from pathlib import Path

import pytest
from in_this_process import call_here
from PIL import Image

from imagen.commandline.arguments import at_home
from imagen.data.image_folder import ImageFolderSource
from imagen.errors import UserError
from imagen.evaluation.judges.clip import ClipJudge
from imagen.evaluation.judges.dinov2 import Dinov2
from imagen.evaluation.judges.inception import Inception
from imagen.evaluation.prompts.coco import coco_prompts
from imagen.evaluation.prompts.prompt_set import file_prompts
from imagen.evaluation.prompts.tables import drawbench_prompts
from imagen.files import user_path
from imagen.text.model_files import resolve_folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_home_folder_is_meant_by_a_tilde(home):
    assert user_path("~/a") == home / "a"
    assert user_path("a/~b") == Path("a/~b")
    with pytest.raises(UserError, match="~nobody-of-that-name/a: there is no home folder of that name"):
        user_path("~nobody-of-that-name/a")


def test_a_tilde_in_an_override_is_written_out(home):
    assert at_home("out=~/a") == f"out={home}/a"
    assert at_home("cascade.stages=[~/a,~/b]") == f"cascade.stages=[{home}/a,{home}/b]"
    for other in ("prompt='~/a'", "name=a~b", "~logger", "data.path=a/~/b"):
        assert at_home(other) == other


def test_what_reads_a_users_file_finds_it_in_the_home_folder(home):
    (home / "prompts.txt").write_text("a cat\n")
    assert file_prompts("~/prompts.txt").texts == ["a cat"]
    (home / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "text": "a cat"}))
    Image.new("RGB", (8, 8)).save(home / "a.png")
    assert ImageFolderSource("~").rows[0].file_name == "a.png"
    assert resolve_folder("~", None, local_files_only=True) == home
    refused = [
        lambda path: ClipJudge(path, "clip"),
        Dinov2,
        Inception,
        drawbench_prompts,
        lambda path: coco_prompts(path, 1, 1, 1, "~/manifest.json"),
    ]
    for read in refused:
        with pytest.raises(UserError, match=str(home / "absent")):
            read("~/absent")


@pytest.mark.parametrize(
    ("entry", "overrides"),
    [
        ("sample.py", ["prompts_file='~/absent.txt'", "out='~/pictures'"]),
        ("train.py", ["data=image_folder", "data.path=~/absent", "paths.runs=~/runs", "paths.cache='~/cache'"]),
    ],
)
def test_no_command_makes_a_folder_that_is_called_tilde(home, entry, overrides, monkeypatch):
    monkeypatch.chdir(home)
    done = call_here(entry, *overrides)
    assert done.returncode == 2
    assert str(home / "absent") in done.stderr
    assert not (home / "~").exists()
