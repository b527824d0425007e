"""Each run has its own folder, and no run overwrites another one's files."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from png_settings import read_settings
from small_stages import export_readers_of_shapes_t5

from imagen.app.evaluate import evaluate
from imagen.app.sample import sample
from imagen.commandline.numbers import check_numbers
from imagen.commandline.outputs import LIST, claimed, own_folder
from imagen.errors import UserError
from imagen.places import ROOT

FAST = ["sampler.num_steps=2", "sr_sampler.num_steps=2", "cascade.device=cpu"]


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return export_readers_of_shapes_t5(tmp_path_factory.mktemp("stages"))


@pytest.fixture
def compose_sample(compose_config, stages):
    return lambda *overrides: compose_config(
        "sample", *FAST, f"cascade.stages=[{','.join(stages)}]", "prompt=a red circle", "count=1", *overrides
    )


def pictures_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def call(entry, *arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / entry), *arguments],
        capture_output=True, text=True, timeout=300, cwd=ROOT, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip


@pytest.mark.slow
def test_every_job_of_a_multirun_keeps_its_pictures(stages, tmp_path):
    common = [f"cascade.stages=[{stages[0]}]", "prompt=a red circle", "count=1", f"paths.outputs={tmp_path}"]
    done = call("sample.py", "-m", "seed=1,2", f"out={tmp_path}/mine", *FAST, *common)
    assert done.returncode == 0, done.stderr
    for number, seed in enumerate((1, 2)):
        assert read_settings(tmp_path / f"mine-{number}" / "base" / "00000.png")["seed"] == seed
    assert {path.name for path in tmp_path.iterdir()} == {"mine-0", "mine-1", "multirun"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["seed=1,2", "out=mine"], "mine-3"),
        (["seed=1,2", "out='a,b'"], "mine-3"),
        (["seed=1,2", "out=seed${seed}"], "mine"),
        (["out=one,mine"], "mine"),
        (["+out=choice(one,mine)"], "mine"),
        (["out=[", "name=a,b"], "mine-3"),
    ],
)
def test_a_folder_that_the_user_varies_from_job_to_job_keeps_its_name(compose_sample, monkeypatch, arguments, expected):
    monkeypatch.setattr("imagen.commandline.outputs._job_number", lambda: 3)
    monkeypatch.setattr(sys, "argv", ["sample.py", "-m", *arguments])
    assert own_folder(compose_sample("out=mine")).name == expected


def test_runs_that_start_in_one_second_have_a_folder_each(compose_sample, monkeypatch):
    config = compose_sample()
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: own_folder(config), range(8)))
    assert len(set(folders)) == 8
    assert {folder.name.removeprefix(min(folders).name) for folder in folders} == {"", *(f"_{i}" for i in range(2, 9))}


def test_pictures_of_an_earlier_run_are_kept_unless_they_are_to_be_overwritten(compose_sample, tmp_path):
    out = tmp_path / "out"
    sample(compose_sample(f"out={out}", "count=3"))
    before = {name: (out / name).read_bytes() for name in pictures_of(out)}
    with pytest.raises(UserError, match=r"out holds the files of another run \(sample.py, .*overwrite=true"):
        sample(compose_sample(f"out={out}", "seed=1"))
    assert {name: (out / name).read_bytes() for name in pictures_of(out)} == before
    (out / "base" / "notes.txt").write_text("mine")
    sample(compose_sample(f"out={out}", "seed=1", "overwrite=true", "cascade.stop_at=base"))
    assert pictures_of(out) == ["base/00000.png", "grid.png"]
    assert read_settings(out / "base" / "00000.png")["seed"] == 1
    assert (out / "base" / "notes.txt").read_text() == "mine"
    assert json.loads((out / LIST).read_text())["files"] == ["base/00000.png", "grid.png"]


@pytest.mark.parametrize("overwrite", ["true", "false"])
def test_what_no_run_listed_is_neither_removed_nor_mixed_with(compose_sample, tmp_path, overwrite):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "grid.png").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"holds grid\.png that no files\.json lists"):
        sample(compose_sample(f"out={tmp_path}/out", f"overwrite={overwrite}"))
    assert (tmp_path / "out" / "grid.png").read_bytes() == b"mine"


def test_a_run_that_fails_early_leaves_no_folder_and_one_that_is_to_overwrite_leaves_the_pictures(
    compose_sample, tmp_path
):
    with pytest.raises(UserError, match="choose one of base, sr1"):
        sample(compose_sample(f"out={tmp_path}/out", "cascade.stop_at=sr9"))
    assert not (tmp_path / "out").exists()
    sample(compose_sample(f"out={tmp_path}/out"))
    with pytest.raises(UserError, match="choose one of base, sr1"):
        sample(compose_sample(f"out={tmp_path}/out", "overwrite=true", "cascade.stop_at=sr9"))
    assert pictures_of(tmp_path / "out") == ["base/00000.png", "grid.png", "sr1/00000.png"]
    sample(compose_sample(f"out={tmp_path}/out", "overwrite=true"))


def test_overwrite_is_true_or_false(compose_sample, tmp_path):
    with pytest.raises(UserError, match="overwrite='no' must be true or false"):
        check_numbers(compose_sample(f"out={tmp_path}/out", "overwrite=no"))


def test_of_two_runs_that_overwrite_the_same_folder_the_later_one_has_it(tmp_path):
    with claimed(tmp_path / "out", "one", True, "") as one, claimed(tmp_path / "out", "other", True, "") as other:
        with pytest.raises(UserError, match="taken over by another run"):
            one.begin(["a.png"])
        other.begin(["b.png"])
    assert json.loads((tmp_path / "out" / LIST).read_text()) == {"made_by": "other", "files": ["b.png"]}


@pytest.mark.parametrize("name", ["../kept", "/etc/kept", "a/../../kept", "", "a//b", ".hidden", "a\0b"])
def test_a_list_that_names_files_elsewhere_removes_nothing(tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "kept").write_text("mine")
    (out / LIST).write_text(json.dumps({"made_by": "a stranger", "files": [name]}))
    with pytest.raises(UserError, match="which no run writes"), claimed(out, "mine", True, ""):
        pass
    assert (tmp_path / "kept").read_text() == "mine"


def test_files_behind_a_link_are_not_removed(tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (elsewhere / "00000.png").write_text("mine")
    (out / "base").symlink_to(elsewhere)
    (out / LIST).write_text(json.dumps({"made_by": "a stranger", "files": ["base/00000.png"]}))
    with pytest.raises(UserError, match="is a symbolic link"), claimed(out, "mine", True, "") as claim:
        claim.begin([])
    assert (elsewhere / "00000.png").read_text() == "mine"


@pytest.fixture
def compose_evaluate(compose_config, stages, monkeypatch):
    """A small evaluation whose report has no plots, which take seconds."""
    monkeypatch.setattr("imagen.evaluation.report.report.plot_pareto", lambda results, path: None)
    monkeypatch.setattr("imagen.evaluation.report.report.plot_metrics", lambda results, path: None)
    return lambda *overrides: compose_config(
        "evaluate", "sampler.num_steps=1", "cascade.device=cpu", f"cascade.stages=[{stages[0]}]", "prompts.count=4",
        "guidance.weights=[1]", "metrics.reference.count=8", "grid_prompts=1", "strips.prompts=0",
        "~metrics.judges.b", *overrides,
    )  # fmt: skip


def test_another_evaluation_or_comparison_under_the_same_name_is_refused_and_overwrites_nothing(
    compose_evaluate, tmp_path
):
    evaluations = tmp_path / "outputs" / "evaluation"
    evaluate(compose_evaluate("name=one", "prompts.count=6"))
    before = (evaluations / "one" / "results.json").read_bytes()
    with pytest.raises(UserError, match=r"evaluation/one was begun with seed=0 and cannot resume with 1; give another"):
        evaluate(compose_evaluate("name=one", "seed=1"))
    evaluate(compose_evaluate("name=two", "prompts.count=6"))
    with pytest.raises(
        UserError, match=r"evaluation/one holds .* give the comparison a name of its own: name=one_and_t"
    ):
        evaluate(compose_evaluate("compare=[one,two]", "name=one"))
    assert (evaluations / "one" / "results.json").read_bytes() == before
    evaluate(compose_evaluate("compare=[one,two]", "name=both"))
    evaluate(compose_evaluate("compare=[one,two]", "name=both"))
    with pytest.raises(UserError, match=r"both holds the files of another run \(evaluate.py compare=\[one,two\]\)"):
        evaluate(compose_evaluate("compare=[two,one]", "name=both"))
    with pytest.raises(
        UserError, match=r"evaluation/both holds compare-dynamic.png, which does not belong to an evaluation"
    ):
        evaluate(compose_evaluate("name=both"))


def test_grids_of_curves_that_are_no_longer_asked_for_are_removed(compose_evaluate, tmp_path):
    evaluate(compose_evaluate("guidance=sweep_thresholding", "guidance.weights=[1]"))
    evaluate(compose_evaluate("guidance=sweep", "guidance.weights=[1]"))
    found = {path.name for path in (tmp_path / "outputs" / "evaluation" / "default").glob("grid-*.png")}
    assert found == {"grid-dynamic.png", "grid-static.png"}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["name=../esc"], "name='../esc' is not a name"),
        (["name=a/b"], "name='a/b' is not a name"),
        (["name=''"], "name='' is not a name"),
        (["name=null"], "name=null"),
        (["out=''"], "out="),
        (["compare=[../one,other]"], "compare='../one' is not a name"),
        (["compare=[/etc,other]"], "compare='/etc' is not a name"),
        (["strips.moments=true"], "strips.moments=True must be a whole number of at least 1"),
        (["strips.prompts=1.5"], "strips.prompts=1.5 must be a whole number of at least 0"),
        (["strips.weights=3"], "strips.weights=3 must be a list"),
        (["grid_prompts=1.5"], "grid_prompts=1.5 must be a whole number of at least 0"),
        (["grid_prompts=-1"], "grid_prompts=-1 must be a whole number of at least 0"),
        (["block_size=2.5"], "block_size=2.5 must be a whole number of at least 1"),
        (["block_size=true"], "block_size=True must be a whole number of at least 1"),
        (["metrics.judges.a.name=../../esc"], "name='../../esc' is not a name"),
        (["metrics.judges.a.name='x$\\frac$'"], "name='x$"),
    ],
)
def test_names_and_numbers_of_an_evaluation_are_checked_before_anything_is_written(
    compose_evaluate, tmp_path, overrides, expected
):
    def command() -> None:
        config = compose_evaluate(*overrides)
        check_numbers(config)  # as every command does first
        evaluate(config)

    with pytest.raises(UserError) as caught:
        command()
    assert expected in str(caught.value)
    assert not (tmp_path / "outputs").exists()
    assert not (tmp_path / "esc").exists()


def test_jobs_of_a_multirun_of_evaluations_have_names_of_their_own(compose_evaluate, monkeypatch):
    monkeypatch.setattr("imagen.commandline.outputs._job_number", lambda: 1)
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "-m", "seed=1,2"])
    assert own_folder(compose_evaluate("seed=2"), ("name", "out")).name == "default-1"
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "-m", "seed=1,2", "name=s${seed}"])
    assert own_folder(compose_evaluate("seed=2", "name=s${seed}"), ("name", "out")).name == "s2"


def test_pictures_are_not_written_behind_a_link_in_somebodys_folder(compose_sample, tmp_path):
    out, theirs = tmp_path / "out", tmp_path / "theirs"
    out.mkdir()
    theirs.mkdir()
    (theirs / "00000.png").write_text("precious")
    (out / LIST).write_text(json.dumps({"made_by": "x", "files": []}))
    (out / "base").symlink_to(theirs)
    with pytest.raises(UserError, match="base is a symbolic link"):
        sample(compose_sample(f"out={out}", "overwrite=true"))
    assert (theirs / "00000.png").read_text() == "precious"


@pytest.mark.parametrize("out", ["[1,2]", "null", "''", "7"])
def test_a_folder_is_text(compose_sample, out):
    with pytest.raises(UserError, match="give the folder to write into"):
        own_folder(compose_sample(f"out={out}"))
