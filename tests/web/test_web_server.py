"""`imagen web` through its API: a really started server, asked by Gradio's own client."""

import shlex
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from png_settings import read_settings
from started_page import form

from imagen.app.sample import sample
from imagen.commandline.arguments import as_hydra_reads_them
from imagen.diffusion.samplers import DDIMSampler, DDPMSampler, DPMSolverPP2M
from imagen.places import ROOT
from imagen.web.uploads import MOST_BYTES, MOST_PIXELS

PROMPTS = ["a red circle", "a green ring on a black background"]
HOW = {"seed": 3, "sampler": {"base": DPMSolverPP2M(2), "sr1": DDIMSampler(2)}, "guidance_weight": [3, 1.5]}


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture(scope="module")
def connect(server, tmp_path_factory):
    """Another client of the server."""

    def connected():
        return Client(server.url, verbose=False, download_files=str(tmp_path_factory.mktemp("client")))

    return connected


@pytest.fixture(scope="module")
def client(connect):
    return connect()


@pytest.fixture
def ask(client):
    """The newest orders, oldest first, that a request made."""

    def asked(endpoint, *values, by=client):
        before = len(by.predict(1000, api_name="/history"))
        by.predict(*values, api_name=endpoint)
        every = by.predict(1000, api_name="/history")
        return every[: len(every) - before][::-1]

    return asked


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A picture of the size that the cascade makes."""
    path = tmp_path_factory.mktemp("pictures") / "mine.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    return path


def same(made, expected):
    return [pixels(path).tobytes() for path in made["files"]] == [image.tobytes() for image in expected]


def test_the_pictures_are_those_of_the_library(ask, model):
    (made,) = ask("/make", *form())
    assert same(made, model(PROMPTS, **HOW))
    facts = [read_settings(path) for path in made["files"]]
    assert [(one["prompt"], one["seed"], one["picture"]) for one in facts] == [(PROMPTS[0], 3, 0), (PROMPTS[1], 3, 1)]
    assert [stage["weights_sha256"] for stage in facts[0]["stages"]] == [one.weights_sha256 for one in model.stages]


def test_a_row_is_the_same_noise_at_each_weight(ask, model):
    made = ask("/row", "1, 2.5, 8", *form())
    assert [one["order"]["base"]["weight"] for one in made] == [1, 2.5, 8]
    for one, weight in zip(made, (1, 2.5, 8), strict=True):
        assert same(one, model(PROMPTS, **HOW | {"guidance_weight": [weight, 1.5]}))


def test_the_command_repeats_the_pictures(ask, compose_config, tmp_path):
    tricky = 'it\'s "one", two = ${three} [4] \\\nnull\ntrue\na, b'
    (made,) = ask("/make", *form(prompts=tricky, count=2, negative="a 'blue' ring"))
    check_command(made, compose_config, tmp_path)


def test_the_command_of_an_edit_repeats_it(ask, compose_config, tmp_path, picture):
    painting = painted(picture, tmp_path)
    (made,) = ask("/make", *form(task="Paint anew", painting=painting, resample=2))
    check_command(made, compose_config, tmp_path)


def check_command(made, compose_config, folder):
    """Runs the command as sample.py would."""
    program, script, *arguments = shlex.split(made["command"])
    assert (program, script) == ("python", "sample.py")
    config = compose_config("sample", *as_hydra_reads_them([*arguments, f"out={folder / 'again'}"], "sample"))
    sample(config)
    again = sorted((folder / "again" / "sr1").glob("*.png"))
    assert [pixels(path).tobytes() for path in made["files"]] == [pixels(path).tobytes() for path in again]


def test_the_command_of_prompts_alone_repeats_them(ask, compose_config, tmp_path):
    tricky = 'it\'s "one", two = ${three} [4] \\\nnull\ntrue\na, b'
    (made,) = ask("/make", *form(prompts=tricky, count=2))
    check_command(made, compose_config, tmp_path)


def painted(picture, folder, times=1):
    """What gr.ImageEditor sends of the picture with its left half painted."""
    small = Image.open(picture)
    large = small.resize((16 * times, 16 * times), Image.Resampling.NEAREST)
    layer = np.zeros((16 * times, 16 * times, 4), np.uint8)
    layer[:, : 8 * times] = (255, 0, 255, 255)
    large.save(folder / "background.png")
    Image.fromarray(layer).save(folder / "layer.png")
    file = handle_file(str(folder / "background.png"))
    return {"background": file, "layers": [handle_file(str(folder / "layer.png"))], "composite": file}


@pytest.mark.parametrize("times", [1, 32])
def test_what_is_painted_is_drawn_anew_and_nothing_else(ask, model, picture, tmp_path, times):
    (made,) = ask("/make", *form(task="Paint anew", painting=painted(picture, tmp_path, times)))
    for path in made["files"]:
        assert np.array_equal(pixels(path)[:, 8:], pixels(picture)[:, 8:])
        assert not np.array_equal(pixels(path)[:, :8], pixels(picture)[:, :8])
    edit = {"picture": made["order"]["picture"], "mask": made["order"]["mask"]}
    assert np.array_equal(pixels(edit["picture"]), pixels(picture))
    assert same(made, model(PROMPTS, **edit, **HOW))
    assert edit["picture"] in made["command"]


def test_a_picture_is_changed_by_a_strength(ask, model, picture):
    (made,) = ask("/make", *form(task="Change", picture=handle_file(str(picture)), strength=0.5))
    assert same(made, model(PROMPTS, picture=picture, strength=0.5, **HOW))
    (kept,) = ask("/make", *form(task="Change", picture=handle_file(str(picture)), strength=0))
    assert all(np.array_equal(pixels(path), pixels(picture)) for path in kept["files"])


def test_a_picture_is_enlarged(ask, model, picture):
    (made,) = ask("/make", *form(task="Enlarge", picture=handle_file(str(picture))))
    assert same(made, model(PROMPTS, picture=picture, start_at="sr1", **HOW))
    assert "start_at=sr1" in made["command"]


def test_a_negative_prompt_is_steered_away_from(ask, model):
    (made,) = ask("/make", *form(negative="a ring"))
    assert same(made, model(PROMPTS, negative_prompt="a ring", **HOW))


def test_pictures_can_be_watched_while_they_form(client):
    job = client.submit(*form(sampler="ddpm", steps=600, prompts="a red circle"), api_name="/make")
    job.result()
    forming = [canvas for canvas, *_ in job.outputs() if "data:image/png" in canvas]
    assert len(forming) >= 2
    assert len(set(forming)) == len(forming)
    assert "base, evaluation" in forming[0]


def test_a_click_stops_a_run_and_the_next_one_is_made(client, ask, server):
    before = sorted(server.outputs.iterdir())
    job = client.submit(*form(sampler="ddpm", steps=1_000_000), api_name="/make")
    while not any("evaluation" in canvas for canvas, *_ in job.outputs()):
        time.sleep(0.1)
    client.predict(api_name="/stop")
    assert "stopped" in job.result(timeout=20)[0]
    assert sorted(server.outputs.iterdir()) == before
    assert len(ask("/make", *form())) == 1


@pytest.mark.slow
def test_two_at_once_get_what_they_get_alone(connect, model):
    def of(seed):
        by = connect()
        by.predict(*form(seed=seed, sampler="ddpm", steps=15), api_name="/make")
        return next(one for one in by.predict(1000, api_name="/history") if one["order"]["seed"] == seed)

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(of, (101, 102)))
    how = HOW | {"sampler": {"base": DDPMSampler(15), "sr1": DDIMSampler(2)}}
    for seed, made in zip((101, 102), both, strict=True):
        assert same(made, model(PROMPTS, **how | {"seed": seed}))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"prompts": " \n"}, "there is no prompt: write at least one, one a line"),
        ({"prompts": "a\x00b"}, "prompt 1: the caption holds the control character U+0000 at position 1; remove it"),
        ({"count": 17}, "34 pictures at once: the page makes at most 32; python sample.py makes any number"),
        ({"count": None}, "pictures of each prompt: nothing is no whole number; write one"),
        ({"seed": 1.5}, "seed: 1.5 is no whole number; write one"),
        ({"steps": 0}, "sampler.num_steps=0 must be a whole number of at least 1"),
        ({"sr_weight": -1}, "guidance weight is -1.0; it must be at least 0"),
        ({"task": "Paint anew"}, "there is no picture to paint on: upload one first"),
        ({"task": "Change"}, "there is no picture: upload one first"),
        ({"negative": "a ring", "weight": 1, "sr_weight": 1}, "negative_prompt has no effect at guidance weight 1"),
    ],
)
def test_wrong_input_gets_the_line_of_the_project(client, changes, line):
    with pytest.raises(AppError) as told:
        client.predict(*form(**changes), api_name="/make")
    assert str(told.value).startswith(line), told.value
    assert "\n" not in str(told.value)


def test_a_row_of_words_is_refused(client):
    with pytest.raises(AppError, match="row of weights: 'two' is not a number; write 1, 2, 3, 5, 8"):
        client.predict("1, two", *form(), api_name="/row")


def test_files_that_are_no_pictures_or_too_large_are_refused(client, tmp_path):
    (tmp_path / "note.png").write_text("not a picture")
    side = int(MOST_PIXELS**0.5) + 10
    Image.new("1", (side, side)).save(tmp_path / "wide.png")
    for name, line in (("note.png", "picture: not a picture in any of"), ("wide.png", "picture: .* are more than")):
        with pytest.raises(AppError, match=line):
            client.predict(*form(task="Enlarge", picture=handle_file(str(tmp_path / name))), api_name="/make")


def test_an_upload_of_too_many_bytes_is_refused(client, server, tmp_path):
    (tmp_path / "large.png").write_bytes(bytes(MOST_BYTES + 1))
    with pytest.raises(Exception, match=r"413|exceeds|too large|size"):
        client.predict(*form(task="Enlarge", picture=handle_file(str(tmp_path / "large.png"))), api_name="/make")
    assert not [path for path in server.root.rglob("large.png") if path.stat().st_size > MOST_BYTES]


def test_other_files_are_not_served(server, stages):
    for path in (stages[0] / "config.json", Path("/etc/passwd")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.url}/gradio_api/file={path}")
        assert refused.value.code in (403, 404)


def test_a_browser_is_told_to_load_nothing_from_elsewhere(server):
    with urllib.request.urlopen(server.url) as answer:
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        page = answer.read().decode()
    assert "fonts.googleapis.com" not in page
    assert '"analytics_enabled":false' in page.replace(" ", "")


def test_nothing_is_written_elsewhere_and_the_console_shows_no_traceback(server):
    """The last test of the file: after all that the others did."""
    ours = [path for path in server.root.rglob("*") if path.is_file() and not path.is_relative_to(server.outputs)]
    assert all(path.is_relative_to(server.root / "runs") for path in ours)
    assert [path for path in server.home.rglob("*") if path.is_file()] == []
    assert "Traceback" not in "".join(server.said)
    assert list((ROOT / "src").rglob("*.pyi")) == []  # Gradio writes some for components of one's own
