"""What stands behind the page, without Gradio: orders, cascades, uploads, the thread that samples."""

import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
from PIL import Image

from imagen.commandline.arguments import as_hydra_reads_them
from imagen.errors import UserError
from imagen.places import ROOT
from imagen.runs.find import finished_cascades
from imagen.sampling.configured import configured_settings
from imagen.web import cascades as cascades_module
from imagen.web.cascades import Cascades, Choice
from imagen.web.composing import How, composed
from imagen.web.figures import shown
from imagen.web.form import row_of_weights
from imagen.web.history import History, Made
from imagen.web.order import Order
from imagen.web.uploads import enlarged_to_paint, made_small_again, put_down_painting
from imagen.web.worker import StoppedError, Worker

SHAPES = Choice("shapes", [ROOT / "assets" / "cascade" / role for role in ("base", "sr1")])
OPENMOJI = Choice("openmoji", [ROOT / "assets" / "openmoji" / role for role in ("base", "sr1")], "openmoji")
ORDER = Order(["a red circle"], 2, 7, How("ddim", 5, 2.5), How("heun", 3, 1.25), "static")


def read(command):
    """The configuration that a command line composes."""
    program, script, *arguments = shlex.split(command)
    assert (program, script) == ("python", "sample.py")
    return composed(as_hydra_reads_them(arguments, "sample"))


@pytest.mark.parametrize(
    "prompts",
    [
        ["a red circle"],
        ["null"],
        [
            "a, b",
            "it's",
            'say "x"',
            "back\\slash",
            "a=b",
            "[x]",
            "{y: 1}",
            "ends with \\",
            "3",
            "~",
            "${seed}",
            "ünï 🙂",
        ],
    ],
)
def test_prompts_arrive_as_they_are_written(prompts):
    found = read(replace(ORDER, prompts=prompts).command(SHAPES)).prompt
    assert ([found] if isinstance(found, str) else list(found)) == prompts


@pytest.mark.parametrize("choice", [SHAPES, OPENMOJI])
def test_the_command_gives_every_stage_the_settings_of_the_form(choice):
    config = read(ORDER.command(choice))
    base, sr1 = configured_settings(config, ["base", "sr1"], list(config.guidance_weights))
    assert (base.sampler.num_steps, base.guidance.weight, type(base.sampler).__name__) == (5, 2.5, "DDIMSampler")
    assert (sr1.sampler.num_steps, sr1.guidance.weight, type(sr1.sampler).__name__) == (3, 1.25, "HeunSampler")
    assert type(base.thresholding) is type(sr1.thresholding)
    assert type(base.thresholding).__name__ == "StaticThresholding"
    assert (config.seed, config.count) == (7, 2)


def test_a_cascade_brings_the_defaults_of_its_configuration():
    assert (SHAPES.defaults.thresholding, SHAPES.defaults.others.weight) == ("dynamic", 1.5)
    assert (OPENMOJI.defaults.thresholding, OPENMOJI.defaults.others.weight) == ("static", 1)
    assert OPENMOJI.defaults.base.weight == 3
    assert "cascade=openmoji" in ORDER.command(OPENMOJI)
    assert "assets/cascade/base" in ORDER.command(SHAPES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": ["a", " "]}, "prompt 2: a prompt must be a text that is not empty"),
        ({"base": How("euler", 5, 1.0)}, "sampler='euler': no such choice; choose one of ddim"),
        ({"others": How("ddim", 0, 1.0)}, "sr_sampler.num_steps=0 must be a whole number of at least 1"),
        ({"base": How("ddim", 5, float("nan"))}, "guidance weight=nan must be a finite number"),
        ({"thresholding": "../train"}, "thresholding='../train': no such choice"),
        ({"count": 33}, "33 pictures at once: the page makes at most 32"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        replace(ORDER, **changes)


def test_a_row_changes_the_weight_and_nothing_else():
    row = row_of_weights(ORDER, "1, 2.5;8")
    assert [one.base.weight for one in row] == [1, 2.5, 8]
    assert all(replace(one, base=ORDER.base) == ORDER for one in row)
    with pytest.raises(UserError, match="11 are given; give 1 to 10"):
        row_of_weights(ORDER, ",".join("12345678901"))


def test_runs_of_one_name_belong_together_else_the_newest_that_fit(stages, tmp_path, caplog):
    for role, name in (("base", "a"), ("sr1", "a"), ("base", "b"), ("sr1", "c"), ("base", "broken")):
        shutil.copytree(stages[0 if role == "base" else 1], tmp_path / role / name / "export")
    (tmp_path / "base" / "broken" / "export" / "config.json").write_text("{")
    chains = [[str(path.relative_to(tmp_path).parent) for path in chain] for chain in finished_cascades(tmp_path)]
    assert ["base/a", "sr1/a"] in chains
    assert next(chain for chain in chains if chain[0] == "base/b")[1] in ("sr1/a", "sr1/c")
    assert len(chains) == 2
    assert "broken" in caplog.text


def test_two_cascades_are_kept_and_one_that_was_trained_again_is_loaded_again(stages, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("IMAGEN_ROOT", str(tmp_path))
    folders = [tmp_path / "exports" / name for name in "abc"]
    for folder in folders:
        for stage, role in zip(stages, ("base", "sr1"), strict=True):
            shutil.copytree(stage, folder / role)
    kept = Cascades(folders)
    a, b, c = kept.choices.values()
    first = kept.model(a)
    assert kept.model(a) is first
    kept.model(b)
    assert kept.model(a) is first  # used later than b
    kept.model(c)
    assert kept.model(a) is first
    (folders[0] / "base" / "config.json").touch()
    assert kept.model(a) is not first
    assert len(kept._open) == cascades_module.KEPT


def test_an_unknown_cascade_and_an_empty_place_are_told(stages, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEN_ROOT", str(tmp_path))
    with pytest.raises(UserError, match=r"no finished run below .* and nothing shipped: train one with"):
        Cascades()
    with pytest.raises(UserError, match="cascade 'x' is not on this machine; choose one of folder "):
        Cascades([stages[0]]).choice("x")


PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def test_a_picture_that_was_enlarged_to_paint_on_becomes_itself():
    large = enlarged_to_paint(PIXELS)
    assert large.shape == (12 * 32, 16 * 32, 3)
    brush = np.zeros(large.shape[:2], bool)
    brush[31, 32:40] = True
    small, painted = made_small_again(large, brush, 16)
    assert np.array_equal(small, PIXELS)
    assert np.argwhere(painted).tolist() == [[0, 1]]


def test_a_picture_of_its_own_is_left_as_it_is():
    brush = np.ones((48, 64), bool)
    photograph = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    assert made_small_again(photograph, brush, 16)[0] is photograph
    assert enlarged_to_paint(np.zeros((600, 700, 3), np.uint8)).shape == (600, 700, 3)


def test_transparent_paint_is_no_paint(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "picture.png")
    Image.new("RGBA", (16, 12), (255, 0, 255, 0)).save(tmp_path / "layer.png")
    value = {"background": str(tmp_path / "picture.png"), "layers": [str(tmp_path / "layer.png")]}
    with pytest.raises(UserError, match="nothing is painted: paint with the brush"):
        put_down_painting(value, 16, tmp_path)
    Image.fromarray(PIXELS[:6]).save(tmp_path / "picture.png")
    with pytest.raises(UserError, match="the painting is 12 × 16, the picture 6 × 16"):
        put_down_painting(value, 16, tmp_path)


def test_jobs_are_done_in_the_order_in_which_they_came_and_news_arrive():
    worker, go, done = Worker(), Event(), []

    def work(name):
        def run(report):
            report(f"{name} begins")
            go.wait(10)
            done.append(name)
            return name

        return run

    first, second = worker.start(work("a")), worker.start(work("b"))
    assert worker.before(second) == 1
    news = worker.follow(first)
    assert next(news) == (0, "a begins")
    go.set()
    assert list(news) == []
    assert [first.future.result(), second.future.result(10)] == ["a", "b"]
    assert done == ["a", "b"]
    worker.stop()


def test_a_job_stops_while_it_runs_and_while_it_waits():
    worker, begun, never = Worker(), Event(), []

    def endless(report):
        begun.set()
        while True:
            report(None)

    running, waiting = worker.start(endless), worker.start(lambda report: never.append(1))
    begun.wait(10)
    waiting.stop()
    running.stop()
    for job in (running, waiting):
        with pytest.raises(StoppedError):
            list(worker.follow(job))
    worker.stop()
    assert never == []


def test_who_goes_away_leaves_nothing_running():
    worker = Worker()

    def endless(report):
        while True:
            report("still here")

    job = worker.start(endless)
    following = worker.follow(job)
    next(following)
    following.close()
    with pytest.raises(StoppedError):
        job.future.result(10)
    worker.stop()


def test_texts_of_users_are_no_markup(tmp_path):
    order = {"prompts": ["<script>${x}</script>"], "count": 1, "seed": 0, "base": {"weight": 1}}
    page = shown([Made("c", order, "", ["0.png"], str(tmp_path / 'a"b'))])
    assert "<script" not in page
    assert "${" not in page
    assert 'a"b' not in page


def test_a_damaged_record_does_not_hide_the_others(tmp_path):
    history = History(tmp_path)
    for name, text in (("bad", "{"), ("stranger", '{"files": ["../../x"]}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "made.json").write_text(text)
    assert history.newest(10) == []


def imagen_web(*arguments, before=""):
    call = f"import sys; {before}from imagen.app.web import main; sys.argv[0] = 'imagen web'; main()"
    return subprocess.run([sys.executable, "-c", call, *arguments], capture_output=True, text=True, check=False)


def test_without_the_package_one_line_says_how_to_get_it():
    hidden = "import importlib.util as u; find = u.find_spec; "
    hidden += "u.find_spec = lambda name, *rest: None if name == 'gradio' else find(name, *rest); "
    done = imagen_web(before=hidden)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "error: imagen web needs the package gradio, which is not installed: "
        "pip install -e '.[web]' -c constraints.txt\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--port", "99999"], 3, "error: --host 127.0.0.1 --port 99999: "),
        (["--host", "203.0.113.1", "--port", "0"], 3, "error: --host 203.0.113.1 --port 0: "),
        (["/nowhere"], 2, "error: /nowhere: no such folder"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_line(arguments, code, line, monkeypatch, tmp_path):
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.setenv("IMAGEN_ROOT", str(tmp_path))
    done = imagen_web(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
    assert done.stderr.startswith(line)
