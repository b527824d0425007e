"""`imagen train-judge` and `metrics=own`, on a folder of tiny pictures."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from halves import TINY, save_pictures
from small_stages import export_readers_of_shapes_t5

from imagen.app.evaluate import evaluate
from imagen.checks.worlds import World
from imagen.data.image_folder import ImageFolderSource
from imagen.errors import UserError
from imagen.evaluation.judges.clip import ClipJudge
from imagen.evaluation.judges.own import own_judges
from imagen.evaluation.judges.record import FILE, read_record
from imagen.evaluation.sweep.own_reference import own_reference
from imagen.files import sha256_of_file
from imagen.judging.own import train_judges


def options(folder: Path, *more: str) -> list[str]:
    return ["data=image_folder", f"data.path={folder}", "name=my", *TINY, *more]


@pytest.fixture(scope="session")
def judges(tmp_path_factory, picture_folder):
    """The folder of two trained judges, a and b."""
    from hydra import compose, initialize_config_dir

    from imagen.places import ROOT

    runs = tmp_path_factory.mktemp("runs")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train_judge", overrides=[*options(picture_folder, "steps=120"), f"paths.runs={runs}"])
    train_judges(config)
    return runs / "judges" / "my"


def test_two_judges_are_trained_that_find_the_captions_of_pictures_they_have_not_seen(judges, picture_folder):
    for name in "ab":
        record = read_record(judges / name)
        assert record is not None
        assert record.name == f"my-{name}"
        assert World.from_record(record.world, "", "") == ImageFolderSource(picture_folder).world
        assert record.weights_sha256 == sha256_of_file(judges / name / "model.safetensors")
        assert record.pictures_seen == 120 * 16
        assert record.retrieval is not None
        assert record.retrieval["rows"] == 16
        recall = record.retrieval["R@1, caption to picture"]
        assert recall["low"] <= recall["value"] <= recall["high"]
        assert recall["value"] > 0.6  # 0.06 by chance
        card = (judges / name / "MODEL_CARD.md").read_text()
        assert record.weights_sha256 in card
        assert f"# my-{name}" in card
        assert "Knows: the pictures in halves." in card
        assert f"{recall['value']:.3f} [{recall['low']:.3f}, {recall['high']:.3f}]" in card
    weights = [(judges / name / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] != weights[1]


def test_a_judge_of_ones_own_loads_as_every_other_and_its_record_is_no_part_of_its_identity(judges, tmp_path):
    judge = ClipJudge(judges / "a", "my-a", device="cpu")
    assert (judge.fidelity_key, judge.alignment_key) == ("fd[my-a]", "align[my-a]")
    assert not any(judge.too_long(["red on the left", "grün auf der linken Seite"]))
    copy = shutil.copytree(judges / "a", tmp_path / "copy")
    (copy / FILE).unlink()
    without = ClipJudge(copy, "my-a", device="cpu")
    assert without.identity == judge.identity
    assert (without.world, judge.world is not None) == (None, True)


def test_training_is_a_function_of_the_configuration(compose_config, picture_folder, judges):
    for name in ("one", "two"):
        more = ["steps=3", f"name={name}", "judges=[a]"]
        train_judges(compose_config("train_judge", *options(picture_folder), *more))
    folder = Path(compose_config("train_judge", *options(picture_folder)).out).parent
    one, two = ((folder / name / "a" / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_what_is_finished_is_not_trained_again_and_what_is_not_is(compose_config, picture_folder, capsys):
    short = options(picture_folder, "steps=3")
    train_judges(compose_config("train_judge", *short, "judges=[a]"))
    out = Path(compose_config("train_judge", *short).out)
    (out / "b").mkdir()  # as an interrupted training leaves it
    (out / "b" / "model.safetensors").write_bytes(b"half")
    before = (out / "a" / FILE).stat().st_mtime_ns
    train_judges(compose_config("train_judge", *short))
    assert (out / "a" / FILE).stat().st_mtime_ns == before
    assert ClipJudge(out / "b", "my-b", device="cpu").world is not None
    assert "metrics=own metrics.run=my" in capsys.readouterr().out
    with pytest.raises(UserError, match="a and b are trained already; train others with name="):
        train_judges(compose_config("train_judge", *short))
    with pytest.raises(UserError, match="was trained with steps=3, and now 4 is asked for: give another name="):
        train_judges(compose_config("train_judge", *options(picture_folder, "steps=4")))


def test_judges_of_pictures_that_have_changed_are_not_taken_for_finished(compose_config, picture_folder, tmp_path):
    folder = shutil.copytree(picture_folder, tmp_path / "halves")
    short = options(folder, "steps=3")
    train_judges(compose_config("train_judge", *short, "judges=[a]"))
    lines = (folder / "metadata.jsonl").read_text().replace("red", "crimson")
    (folder / "metadata.jsonl").write_text(lines)
    with pytest.raises(UserError, match=r"a holds a judge of the pictures in halves as they were: .* another name="):
        train_judges(compose_config("train_judge", *short))
    (folder / "metadata.jsonl").write_text(lines.replace("crimson", "red"))
    with pytest.raises(UserError, match="was trained with data="):
        train_judges(compose_config("train_judge", *short, "data.geometry.upscale=true"))


def test_a_judge_with_a_warm_up_of_one_step_is_trained(compose_config, picture_folder):
    train_judges(compose_config("train_judge", *options(picture_folder, "steps=3"), "optimisation.warmup=1"))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["data.train.n=3", "data.validation.n=2"], "16 of 24 validation rows of .* are training rows too: give"),
        (["data.batch_size=1"], "a step of 1 picture: .* data.batch_size=1 and 32 training pictures must be 2 or more"),
        (["data.train.n=40"], r"2 validation rows, and the recall of a judge needs at least 10"),
        (["judges=[]"], r"judges=\[\]: give a list of different names"),
        (["judges=[a,a]"], r"judges=\['a', 'a'\]: give a list of different names"),
        (["judges=[../a]"], r"judges='../a' is not a name"),
        (["name=.."], "is not a name"),
        (["image_size=20"], "image_size=20 is no multiple of the network's patch=8"),
        (
            ["image_size=32"],
            "20 × 20 pixels are fewer than the 32 × 32 needed; data.bad_pictures.skip_small=true leaves",
        ),
        (["device=tpu"], "device=tpu: choose auto, cpu or cuda"),
        (["precision=fp8"], "precision=fp8: choose auto"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_line(more, expected, compose_config, picture_folder, tmp_path):
    with pytest.raises(Exception, match=expected) as caught:
        train_judges(compose_config("train_judge", *options(picture_folder, "steps=3", *more)))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob(FILE))


def test_pictures_that_all_have_one_caption_are_refused(compose_config, tmp_path):
    folder = save_pictures(tmp_path / "same", [("red", "left")] * 36)
    with pytest.raises(UserError, match="all 24 training pictures have the caption 'red on the left': a judge learns"):
        train_judges(compose_config("train_judge", *options(folder, "steps=3")))


def test_a_folder_without_pictures_is_refused(compose_config, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is empty"):
        train_judges(compose_config("train_judge", *options(tmp_path / "empty")))


def test_metrics_own_takes_the_newest_judges_or_those_that_are_named(judges, tmp_path, capsys):
    folder = tmp_path / "judges"
    for name in ("old", "new"):
        shutil.copytree(judges, folder / name)
    for name in "ab":
        (folder / "new" / name / FILE).touch()
    assert [*own_judges(folder)] == ["my-a", "my-b"]
    assert f"judges: {folder / 'new'} (newest)" in capsys.readouterr().out
    assert own_judges(folder, "old")["my-a"].folder == folder / "old" / "a"
    line = r"judges/gone holds no judge: train judges of your pictures with imagen train.* to one of new, old$"
    with pytest.raises(UserError, match=line):
        own_judges(folder, "gone")
    with pytest.raises(UserError, match="holds no judge"):
        own_judges(tmp_path / "nowhere")


def test_the_reference_is_what_the_judges_were_trained_on_or_what_is_given(judges, picture_folder, tmp_path):
    reference = own_reference(judges.parent)
    assert reference.count == 32
    assert reference.identity["source"]["selection"] == "AllButEveryNth"
    assert own_reference(judges.parent, path=str(picture_folder)).count == 48
    source = ImageFolderSource(picture_folder)
    assert own_reference(judges.parent, source=source, count=5).count == 5
    with pytest.raises(UserError, match="give path or source, not both"):
        own_reference(judges.parent, path="/a", source=source)
    folder = shutil.copytree(judges.parent, tmp_path / "judges")
    for record, expected in (
        (None, "does not say where its pictures are: give others with metrics.reference.path="),
        ({"_target_": "imagen.data.image_folder.ImageFolderSource", "path": "/nowhere"}, "there is no folder /nowhere"),
        ({"_target_": "os.system", "command": "true"}, r"_target_='os.system' is not allowed"),
        ({"_target_": "imagen.data.transforms.Geometry"}, "describes a Geometry, no pictures"),
        ({"_target_": "imagen.data.image_folder.ImageFolderSource", "path": "${oc.env:HOME}"}, "interpolation"),
    ):
        fields = json.loads((judges / "a" / FILE).read_text()) | {"source": record}
        (folder / "my" / "a" / FILE).write_text(json.dumps(fields))
        with pytest.raises(UserError, match=expected):
            own_reference(folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda fields: "{", "not JSON"),
        (lambda fields: "[]", "a JSON object is expected"),
        (lambda fields: json.dumps(fields | {"world": {}}), "world: the field 'name' is missing"),
        (lambda fields: json.dumps(fields | {"name": "../a"}), "is not a name"),
        (lambda fields: json.dumps(fields | {"format_version": 9}), "format_version 9, this version reads 1"),
        (lambda fields: json.dumps(fields | {"weights_sha256": "0" * 64}), "is the record of other weights"),
    ],
)
def test_a_damaged_record_of_a_judge_is_refused_in_one_line(change, expected, judges, tmp_path):
    folder = shutil.copytree(judges / "a", tmp_path / "a")
    (folder / FILE).write_text(change(json.loads((folder / FILE).read_text())))
    with pytest.raises(UserError, match=expected) as caught:
        ClipJudge(folder, "my-a", device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_cascade_of_the_same_pictures_is_measured_and_one_of_others_refused(
    judges, picture_folder, compose_config, tmp_path, caplog
):
    (tmp_path / "prompts.txt").write_text(
        "red on the left\nblue on the top\ngreen on the right\nblack on the left\n" + 60 * "red on the left " + "\n"
    )
    stages = export_readers_of_shapes_t5(tmp_path / "cascade")
    config = compose_config(
        "evaluate", "metrics=own", f"metrics.folder={judges.parent}", "prompts=file", "sampler.num_steps=1",
        f"prompts.path={tmp_path}/prompts.txt", "sr_sampler.num_steps=1", "guidance.weights=[2]", "grid_prompts=1",
        f"cascade.stages=[{','.join(stages)}]", "cascade.device=cpu", "strips.prompts=0",
    )  # fmt: skip

    def trained_on(world: World) -> None:
        for stage in stages:
            path = Path(stage) / "config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"trained_on": world.as_record()}))

    trained_on(World("the pictures in cats", "ImageFolderSource", "1"))
    with pytest.raises(UserError, match="judge my-a knows the pictures in halves, and stage base was trained on the"):
        evaluate(config)
    assert not list(tmp_path.rglob("blocks"))
    trained_on(ImageFolderSource(picture_folder).world)
    torch.manual_seed(0)
    evaluate(config)
    said = "1 of the 5 captions are longer than my-{} reads: their pictures are left out of its alignment"
    assert all(any(message.startswith(said.format(name)) for message in caplog.messages) for name in "ab")
    (results,) = tmp_path.rglob("results.json")
    assert json.loads(results.read_text())["captions_too_long"] == {"my-a": 1, "my-b": 1}
    (cell,) = json.loads(results.read_text())["cells"]
    wanted = {f"{kind}[my-{name}]" for kind in ("fd", "align", "kid", "mind", "precision", "recall") for name in "ab"}
    assert wanted <= cell["metrics"].keys()
    interval = cell["intervals"]["align[my-a]"]
    assert interval["low"] < cell["metrics"]["align[my-a]"] < interval["high"]
    assert cell["metrics"]["fd[my-a]"] != cell["metrics"]["fd[my-b]"]
