"""Numbers of judges that know other pictures than the stages were trained on are refused."""

import json
import shutil

import pytest
from omegaconf import OmegaConf
from small_stages import describe, export_readers_of_shapes_t5

from imagen.app.evaluate import evaluate
from imagen.checks.worlds import EVERY, World
from imagen.data.openmoji.source import OPENMOJI
from imagen.data.shapes_source import SHAPES
from imagen.errors import UserError
from imagen.evaluation.judges.clip import ClipJudge
from imagen.evaluation.judges.dinov2 import Dinov2
from imagen.evaluation.judges.extractor import Extractor
from imagen.evaluation.judges.inception import Inception
from imagen.evaluation.prompts.openmoji import openmoji_prompts
from imagen.evaluation.prompts.prompt_set import list_prompts, shapes_prompts
from imagen.evaluation.sweep.plan import Curve, Plan
from imagen.evaluation.worlds import refuse_other_worlds, refuse_prompts_of_another_world
from imagen.places import ROOT

CATS = World("the pictures in cats", "ImageFolderSource", "1")
LINE = (
    "judge j knows the shapes world, and stage base was trained on the pictures in cats: the numbers would mean "
    "nothing; take metrics=own with judges of those pictures (imagen train-judge) or metrics=published, or insist with "
    "across_worlds=true"
)


class Knows(Extractor):
    def __init__(self, world: World | None) -> None:
        self.name, self.world = "j", world

    def image_features(self, pixels):
        raise AssertionError("nothing is measured here")


judge = Knows


def stage(world: World | None, name: str = "base"):
    return describe(name, 8, None, trained_on=None if world is None else world.as_record())


def test_the_line_names_both_worlds_and_every_way_out():
    with pytest.raises(UserError) as caught:
        refuse_other_worlds([judge(SHAPES)], [stage(CATS)], insist=False)
    assert str(caught.value) == LINE


def test_for_stages_of_a_world_with_shipped_judges_these_are_the_way_out():
    with pytest.raises(UserError, match="nothing; take metrics=openmoji prompts=openmoji, or insist with across"):
        refuse_other_worlds([judge(SHAPES)], [stage(OPENMOJI)], insist=False)
    with pytest.raises(UserError, match="nothing; take metrics=shapes prompts=shapes, or insist with across"):
        refuse_prompts_of_another_world(openmoji_prompts("held_out", 2, seed=5), [stage(SHAPES)], insist=False)


def test_every_stage_of_every_cascade_counts():
    refuse_other_worlds([judge(SHAPES)], [stage(SHAPES), stage(SHAPES, "sr1")], insist=False)
    with pytest.raises(UserError, match="stage sr1 was trained on the pictures in cats"):
        refuse_other_worlds([judge(SHAPES)], [stage(SHAPES), stage(CATS, "sr1")], insist=False)
    with pytest.raises(UserError, match="knows the pictures in cats"):
        refuse_other_worlds([judge(SHAPES), judge(CATS)], [stage(SHAPES)], insist=False)


@pytest.mark.parametrize(
    ("known", "trained_on", "insist", "said"),
    [
        (SHAPES, SHAPES, False, ""),
        (EVERY, CATS, False, ""),
        (SHAPES, CATS, True, "the numbers mean nothing (across_worlds=true)"),
        (None, CATS, False, "judge j does not say which pictures it knows: its numbers may mean nothing here"),
        (SHAPES, None, False, "stage base does not say what it was trained on"),
        (
            CATS,
            World("the pictures in /cats", "ImageFolderSource"),
            False,
            "whether these are the same pictures is not",
        ),
    ],
)
def test_what_is_not_known_or_insisted_on_gets_one_line_of_warning(known, trained_on, insist, said, caplog):
    refuse_other_worlds([judge(known)], [stage(trained_on)], insist)
    assert [said in record.message for record in caplog.records] == [True] * bool(said)


def test_prompts_about_other_pictures_are_refused(caplog):
    shapes, emoji = shapes_prompts(2, seed=5), openmoji_prompts("held_out", 2, seed=5)
    with pytest.raises(UserError) as caught:
        refuse_prompts_of_another_world(shapes, [stage(SHAPES), stage(CATS, "sr1")], insist=False)
    assert str(caught.value) == (
        "the prompts are captions of the shapes world, and stage sr1 was trained on the pictures in cats: the numbers "
        "would mean nothing; take prompts=file prompts.path=..., or insist with across_worlds=true"
    )
    with pytest.raises(UserError, match="captions of OpenMoji, and stage base was trained on the shapes world"):
        refuse_prompts_of_another_world(emoji, [stage(SHAPES)], insist=False)
    refuse_prompts_of_another_world(emoji, [stage(OPENMOJI), stage(None, "sr1")], insist=False)
    refuse_prompts_of_another_world(list_prompts(["a cat"]), [stage(CATS)], insist=False)
    assert not caplog.records
    refuse_prompts_of_another_world(shapes.first(1), [stage(CATS)], insist=True)
    assert "mean nothing (across_worlds=true)" in caplog.text


def test_a_judge_that_stages_were_trained_with_is_named(clip):
    judges = [ClipJudge(clip, name, device="cpu") for name in ("one", "other")]
    judges[1].clip_sha256 = "2" * 64
    plain, taught = Curve(pytest.fail, {}), Curve(pytest.fail, {}, clips=frozenset({judges[0].clip_sha256, "1" * 64}))
    assert Plan({"plain": plain, "taught": taught}, [1]).taught_by(judges) == ["one"]
    assert Plan({"plain": plain}, [1]).taught_by(judges) == []


def test_published_judges_know_all_pictures_and_the_shipped_ones_the_shapes_world(clip):
    assert Inception.world == Dinov2.world == EVERY
    for name in "ab":
        assert ClipJudge(ROOT / "assets" / f"judge_{name}", f"shapes-judge-{name}", device="cpu").world == SHAPES
    assert ClipJudge(clip, "tiny", device="cpu").world is None


def evaluation(compose_config, stages, *more):
    small = ["sampler.num_steps=1", "sr_sampler.num_steps=1", "cascade.device=cpu", "guidance.weights=[2]"]
    return compose_config("evaluate", *small, "prompts.count=4", f"cascade.stages=[{','.join(stages)}]", *more)


def test_a_cascade_that_was_exported_before_the_record_is_refused_by_the_configuration_of_its_run(
    compose_config, tmp_path
):
    base, _ = export_readers_of_shapes_t5(tmp_path / "cascade")
    run = tmp_path / "run"
    export = shutil.copytree(base, run / "export")
    path = export / "config.json"
    fields = json.loads(path.read_text())
    del fields["trained_on"]
    path.write_text(json.dumps(fields | {"format_version": 2}))
    source = {"_target_": "imagen.data.image_folder.ImageFolderSource", "path": "/my/cats"}
    train = {"_target_": "imagen.data.source.AllButEveryNth", "n": 50, "source": source}
    OmegaConf.save({"data": {"train": train}}, run / "config.yaml")
    with pytest.raises(UserError, match="knows the shapes world, and stage base was trained on the pictures in /my/c"):
        evaluate(evaluation(compose_config, [str(export)]))
    assert not list((tmp_path / "outputs").rglob("*"))


def test_the_record_of_a_shipped_stage_is_that_of_the_shapes_world():
    from imagen.stages.export import read_description

    assert {read_description(ROOT / "assets" / "cascade" / name).world for name in ("base", "sr1")} == {SHAPES}
