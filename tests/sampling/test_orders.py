"""Long orders of sample.py: rows with settings of their own, interrupted work, shards, memory that does not suffice."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tarfile
import time
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from png_settings import read_settings
from small_stages import export_readers_of_shapes_t5

import imagen.cascade.cascade
import imagen.files
import imagen.text.sources
from imagen.app.sample import sample
from imagen.commandline.command import run_reporting_errors
from imagen.data.web_dataset import WebDatasetSource
from imagen.errors import UserError
from imagen.locks import only_writer
from imagen.places import ROOT

FORK = multiprocessing.get_context("fork")
FAST = ["sampler.num_steps=2", "sr_sampler.num_steps=2", "cascade.device=cpu", "cascade.batch_size=2", "count=2"]
PROMPTS = ["a red circle", "a green ring", "a blue square", "a red star", "two green stars"]
ROWS = [
    {"prompt": PROMPTS[0]},
    {"prompt": PROMPTS[1], "seed": 3},
    {"prompt": PROMPTS[2], "guidance_weight": [5, 2]},
    {"prompt": PROMPTS[3], "seed": -1, "guidance_weight": 4.5},
    {"prompt": PROMPTS[4]},
]


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return export_readers_of_shapes_t5(tmp_path_factory.mktemp("stages"))


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)) + "\n")
    return f"prompts_file={path}"


@pytest.fixture
def run(compose_config, stages, tmp_path):
    """run("prompt=...", out="a"): the folder that sample.py wrote."""

    def sampled(*overrides, out="out"):
        place = [f"cascade.stages=[{','.join(stages)}]", f"out={tmp_path / out}"]
        sample(compose_config("sample", *FAST, *place, *overrides))
        return tmp_path / out

    return sampled


def content(folder):
    """The bytes of every file of a folder, hidden ones too, besides the list that names the folder's run."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "files.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_row_with_a_seed_gives_the_pictures_of_its_prompt_alone_and_no_other_row_changes(run, rows):
    whole = content(run(rows))
    plain = content(run(f"prompt=[{','.join(PROMPTS)}]", out="plain"))
    alone = {
        1: content(run(f"prompt={PROMPTS[1]}", "seed=3", out="one")),
        3: content(run(f"prompt={PROMPTS[3]}", "seed=-1", "guidance_weights=4.5", out="three")),
    }
    for stage in ("base", "sr1"):
        for row in range(len(ROWS)):
            for number in range(2):
                made = whole[f"{stage}/{2 * row + number:05d}.png"]
                if row in alone:
                    assert made == alone[row][f"{stage}/{number:05d}.png"]
                else:
                    assert (made == plain[f"{stage}/{2 * row + number:05d}.png"]) == (row != 2)


def test_the_weights_of_a_row_mean_what_those_of_the_command_line_mean(run, rows):
    out = run(rows)
    for row, weights in enumerate([[3.0, 1.5], [3.0, 1.5], [5.0, 2.0], [4.5, 4.5]]):
        settings = read_settings(out / "sr1" / f"{2 * row:05d}.png")
        assert [stage["guidance_weight"] for stage in settings["stages"]] == weights
    other = run(f"prompt=[{','.join(PROMPTS)}]", "guidance_weights=[5,2]", out="other")
    assert content(out)["sr1/00005.png"] == content(other)["sr1/00005.png"]


def test_rows_of_equal_settings_share_batches_wherever_they_stand(run, rows, monkeypatch):
    batches, make = [], imagen.cascade.cascade.sample_images

    def noted(model, given, settings, generators, *others):
        batches.append((settings.guidance.weight, len(generators)))
        return make(model, given, settings, generators, *others)

    monkeypatch.setattr(imagen.cascade.cascade, "sample_images", noted)
    run(rows, "cascade.batch_size=4", "cascade.stop_at=base")
    assert batches == [(3.0, 4), (3.0, 2), (5.0, 2), (4.5, 2)]


@pytest.fixture
def killed_by(compose_config, monkeypatch, stages, tmp_path, capsys):
    """killed_by(SIGINT, 3, overrides): exit code and last line of a run that gets the signal in its batch number 3."""

    def stopped(number, batch, *overrides, out="out"):
        make, calls = imagen.cascade.cascade.sample_images, []

        def signalled(*arguments):
            calls.append(1)
            if len(calls) == 2 * batch:  # two stages each
                os.kill(os.getpid(), number)
            return make(*arguments)

        place = [f"cascade.stages=[{','.join(stages)}]", f"out={tmp_path / out}"]
        config = compose_config("sample", *FAST, *place, *overrides)
        with monkeypatch.context() as patched:
            patched.setattr(imagen.cascade.cascade, "sample_images", signalled)
            code = run_reporting_errors(lambda: sample(config), "sample")
        return code, capsys.readouterr().err.splitlines()[-1]

    return stopped


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_how_to_go_on_and_ends_as_an_uninterrupted_one(
    run, rows, killed_by, tmp_path, number, code
):
    whole = content(run(rows, out="whole"))
    for finished, batch in ((4, 3), (6, 2)):  # twice
        ended, said = killed_by(number, batch, rows, out="my own")
        assert ended == code
        assert said == (
            f"interrupted; {finished} of 10 pictures are finished; the same command with 'out=\"{tmp_path}/my own\"' "
            "goes on"
        )
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "my own").rglob("0*.png")}
    assert len(before) == 12
    assert content(run(rows, out="my own")) == whole
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())


def test_a_signal_before_the_first_picture_leaves_no_folder(rows, killed_by, tmp_path):
    assert killed_by(signal.SIGINT, 1, rows)[1].startswith("interrupted; 0 of 10 pictures are finished")
    assert not (tmp_path / "out").exists()


def test_a_finished_order_is_not_sampled_again_unless_it_is_to_be_overwritten(run, rows, monkeypatch, capsys):
    whole = content(run(rows))
    with monkeypatch.context() as patched:
        patched.setattr(imagen.cascade.cascade, "sample_images", lambda *arguments: pytest.fail("sampled again"))
        assert content(run(rows)) == whole
    assert "\n10 of 10 pictures are finished: going on\n" in capsys.readouterr().out
    times = {path: path.stat().st_mtime_ns for path in (run(rows, "overwrite=true")).rglob("0*.png")}
    assert len(times) == 20
    run(rows, "overwrite=true")
    assert all(path.stat().st_mtime_ns > written for path, written in times.items())


def test_a_picture_that_is_missing_is_made_again_with_the_bytes_it_had(run, rows):
    out = run(rows)
    whole = content(out)
    (out / "base" / "00005.png").unlink()
    (out / "sr1" / "00009.png").write_bytes(whole["sr1/00008.png"])  # not what the order says
    (out / "sr1" / "00000.png").write_bytes(b"damaged")
    assert content(run(rows)) == whole


@pytest.mark.parametrize(
    "changed", ["seed=1", "count=3", "guidance_weights=2", "sampler.num_steps=3", "format=webdataset"]
)
def test_another_order_is_refused_in_the_folder_of_the_first(run, rows, changed):
    before = content(run(rows))
    with pytest.raises(UserError, match=r"holds the files of another run \(sample\.py, order \w+\); give another out="):
        run(rows, changed)
    assert content(run(rows)) == before


def test_what_another_run_left_is_never_taken_for_finished(run, rows, killed_by):
    whole = content(run(rows, "seed=1", out="whole"))
    run(rows)
    said = killed_by(signal.SIGTERM, 1, rows, "seed=1", "overwrite=true")[1]
    assert said.endswith("/out and without overwrite=true goes on")
    assert content(run(rows, "seed=1")) == whole


@pytest.mark.parametrize("kind", ["png", "webdataset"])
@pytest.mark.parametrize("when", [0, 3])
def test_a_process_killed_while_it_writes_leaves_nothing_that_is_taken_for_finished(run, rows, monkeypatch, kind, when):
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")  # a forked process cannot use the threads of its parent
    options = [rows, f"format={kind}", "shard_size=3"]
    whole = content(run(*options, out="whole"))
    publish, calls = imagen.files.publish, []

    def kill(partial, path):
        calls.append(path)
        if len(calls) == 2 + when:
            os.truncate(partial, partial.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        publish(partial, path)

    def killed():
        monkeypatch.setattr(imagen.files, "publish", kill)
        run(*options)

    process = FORK.Process(target=killed)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert content(run(*options)) == whole  # and no half written file lies about


def test_a_folder_in_which_another_process_writes_is_left_alone(run, rows, tmp_path):
    with (
        only_writer(tmp_path / "out"),
        pytest.raises(UserError, match=r"another process writes into .*/out: wait") as caught,
    ):
        run(rows)
    assert caught.value.environment
    assert not (tmp_path / "out").exists()


def test_shards_are_read_back_by_the_source_that_trains_on_them(run, rows, tmp_path):
    whole, out = run(rows, out="png"), run(rows, "format=webdataset", "shard_size=4", out="shards")
    assert sorted(path.name for path in out.iterdir()) == [
        "00000.tar",
        "00001.tar",
        "00002.tar",
        "files.json",
        "grid.png",
    ]
    source = WebDatasetSource(out, tmp_path / "index")
    by_key = {source.where(i).split()[-1]: i for i in range(len(source))}
    assert len(by_key) == 10
    for picture in range(10):
        example = source[by_key[f"{picture:08d}"]]
        assert example.captions == (PROMPTS[picture // 2],)
        with Image.open(whole / "sr1" / f"{picture:05d}.png") as expected:
            assert np.array_equal(np.asarray(example.image), np.asarray(expected))
    with tarfile.open(out / "00001.tar") as tar:
        members = tar.getmembers()
        assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}
        facts = json.load(tar.extractfile("00000006.json"))
        (tmp_path / "one.png").write_bytes(tar.extractfile("00000006.png").read())
    assert facts == read_settings(whole / "sr1" / "00006.png") == read_settings(tmp_path / "one.png")
    assert (out / "grid.png").read_bytes() == (whole / "grid.png").read_bytes()


def test_interrupted_shards_go_on_at_whole_ones_and_do_not_depend_on_the_batch_size(run, rows, killed_by):
    options = [rows, "format=webdataset", "shard_size=4"]
    whole = content(run(*options, out="whole"))
    assert "; 4 of 10 pictures are finished; " in killed_by(signal.SIGINT, 4, *options)[1]
    assert content(run(*options)) == whole
    other = content(run(*options, "cascade.batch_size=3", out="other"))
    for name in ("00000.tar", "00001.tar", "00002.tar"):
        assert names_in(whole[name]) == names_in(other[name])


def names_in(archive):
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        return tar.getnames()


def test_shards_of_embedded_captions_are_refused_and_so_is_another_format(run):
    with pytest.raises(UserError, match=r"format=webdataset holds captions, and embeddings= has none"):
        run("embeddings=x", "format=webdataset")
    with pytest.raises(UserError, match=r"format=jpg: choose png or webdataset"):
        run("prompt=a", "format=jpg")


MAIN_MEMORY = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MAIN_MEMORY, MemoryError()])
def test_out_of_memory_is_one_line_with_the_batch_size_that_fits_and_the_run_goes_on_with_it(
    compose_config, stages, tmp_path, monkeypatch, capsys, error
):
    make, most = imagen.cascade.cascade.sample_images, SimpleNamespace(pictures=8)

    def limited(model, given, settings, generators, *others):
        if len(generators) > most.pictures:
            raise error
        made = make(model, given, settings, generators, *others)
        if model.name == "sr1" and len(generators) == 8:
            most.pictures = 3  # somebody else takes the rest
        return made

    monkeypatch.setattr(imagen.cascade.cascade, "sample_images", limited)
    common = [*FAST, f"cascade.stages=[{','.join(stages)}]", f"out={tmp_path}/out", "prompt=a red circle", "count=20"]

    def started(size):
        config = compose_config("sample", *common, f"cascade.batch_size={size}")
        return run_reporting_errors(lambda: sample(config), "sample"), capsys.readouterr().err.splitlines()[-1]

    code, said = started(8)
    assert code == 3
    assert said == (
        "error: cascade.batch_size=8: out of memory with 8 pictures together, 2 fit (tried with one step of each "
        "stage); 8 of 20 pictures are finished; go on with the same command and cascade.batch_size=2 "
        f"out={tmp_path}/out"
    )
    kept = content(tmp_path / "out")
    assert started(2)[0] == 0
    whole = content(tmp_path / "out")
    assert len(whole) == 41
    assert kept.items() <= whole.items()
    most.pictures = 0
    common.append(f"out={tmp_path}/other")
    assert (
        ": out of memory, one picture alone does not fit; 0 of 20 pictures are finished; stop at a smaller"
        in started(4)[1]
    )


def test_other_errors_of_torch_are_no_lack_of_memory(run, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(imagen.cascade.cascade, "sample_images", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run("prompt=a")


def test_no_caption_is_remembered_from_one_batch_to_the_next(run, rows, monkeypatch):
    asked = []
    embed = imagen.text.sources.OnlineText.embed

    def noted(source, captions):
        asked.append(list(captions))
        return embed(source, captions)

    monkeypatch.setattr(imagen.text.sources.OnlineText, "embed", noted)
    run(rows, "cascade.batch_size=3")
    # As a run that goes on with the second batch: it must not lack what the first one embedded.
    assert asked[:2] == [PROMPTS[:2], [PROMPTS[1], PROMPTS[4]]]


def started(*arguments, **options):
    place = {"cwd": ROOT, "env": os.environ | {"PYTHONPATH": str(ROOT / "src")}, "text": True}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "sample.py"), *FAST, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **place, **options,
    )  # fmt: skip


@pytest.mark.slow
def test_ctrl_c_on_the_command_itself_and_the_same_command_again(run, stages, tmp_path):
    (tmp_path / "many.txt").write_text("\n".join(f"a red circle {i}" for i in range(15)))
    arguments = [f"prompts_file={tmp_path}/many.txt"]
    place = [f"cascade.stages=[{','.join(stages)}]", f"out={tmp_path}/out"]
    with started(*arguments, *place) as process:
        while not list((tmp_path / "out").rglob("00002.png")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert said.splitlines()[-1].endswith(
        f"of 30 pictures are finished; the same command with out={tmp_path}/out goes on"
    )
    assert 2 <= int(said.splitlines()[-1].split()[1]) < 30
    assert content(run(*arguments)) == content(run(*arguments, out="whole"))


@pytest.mark.slow
def test_prompts_from_standard_input(run, rows, stages, tmp_path):
    given = (tmp_path / "rows.jsonl").read_text()
    with started("prompts_file=-", f"cascade.stages=[{','.join(stages)}]", f"out={tmp_path}/piped") as process:
        said, errors = process.communicate(given, timeout=120)
    assert process.returncode == 0, errors
    assert said.startswith("standard input: read as jsonl, 5 prompts\n")
    assert content(tmp_path / "piped") == content(run(rows))
