"""Known answers give known scores; invalid answer files are refused by name."""

import json

import numpy as np
import pytest

from imagen.errors import UserError
from imagen.evaluation.rating.answers import Rater, read_key, read_raters
from imagen.evaluation.rating.scores import bootstrap, score
from imagen.evaluation.rating.tables import as_markdown, remarks


def item(question, *sources, caption="a", category=None, expected=None):
    return {
        "question": question, "sources": list(sources), "caption": caption, "category": category, "expected": expected,
    }  # fmt: skip


PAPER = [
    item("photorealism", "model", "real", caption="a"),
    item("photorealism", "real", "model", caption="b"),
    item("caption", "model", caption="a", category="Colors"),
    item("caption", "model", caption="b", category="Text"),
    item("caption", "real", caption="a", category="Colors"),
    item("caption", "noise", caption="a", expected=2),
]


def by_name(scores):
    return {(one.question, one.subject, one.category): one for one in scores}


def test_known_answers_give_the_papers_scores():
    raters = [Rater("anna", [0, 0, 0, 1, 0, 2]), Rater("ben", [0, 1, 2, None, 1, 2])]
    found = by_name(score(raters, PAPER, seed=0))
    assert found["photorealism", "model", None].value == 75  # chosen left, not right; left, right
    assert found["photorealism", "real", None].value == 25
    assert found["caption", "model", None].value == 50  # yes, somewhat; no, no answer
    assert found["caption", "model", None].answers == 3
    assert found["caption", "real", None].value == 75
    assert found["caption", "model", "Text"].value == 50
    assert ("caption", "noise", None) not in found  # a check is no answer


def test_a_preference_does_not_depend_on_the_side_and_adds_up():
    items = [item("quality", "A", "B", caption="a"), item("quality", "B", "A", caption="b")] * 2
    found = by_name(score([Rater("anna", [0, 2, 1, 0])], items, seed=0))
    assert [found["quality", name, None].value for name in ("A", "B", "indifferent")] == [50, 25, 25]


def test_intervals_hold_the_value_and_shrink_with_raters_and_prompts():
    draw = np.random.default_rng(0)

    def width(raters, prompts):
        values = 100.0 * (draw.random(raters * prompts) < 0.4)
        low, high = bootstrap(values, np.repeat(np.arange(raters), prompts), np.tile(np.arange(prompts), raters), 0)
        assert low <= values.mean() <= high
        return high - low

    assert width(20, 50) < width(5, 10)


def test_the_interval_covers_the_truth_when_raters_and_prompts_differ():
    """Rater and prompt effects are drawn anew in each trial; a bootstrap over answers alone covers half of them."""
    draw = np.random.default_rng(7)
    raters, prompts = np.repeat(np.arange(12), 15), np.tile(np.arange(15), 12)
    inside = 0
    for trial in range(60):
        noise = draw.normal(0, 10, 12 * 15)
        values = 50 + draw.normal(0, 8, 12)[raters] + draw.normal(0, 8, 15)[prompts] + noise
        low, high = bootstrap(values, raters, prompts, trial)
        inside += low <= 50 <= high
    assert inside >= 50


def test_one_rater_has_an_interval_over_prompts():
    values = np.array([0.0, 100.0, 100.0, 0.0, 100.0])
    low, high = bootstrap(values, np.zeros(5, dtype=int), np.arange(5), 0)
    assert low < 60 < high
    assert bootstrap(values, np.zeros(5, dtype=int), np.zeros(5, dtype=int), 0) == (60, 60)


def test_a_rater_who_fails_the_checks_is_left_out_and_named_and_missing_answers_are_counted():
    raters = [Rater("anna", [0, None, 0, 0, None, 2]), Rater("careless", [0, 0, 0, 0, 0, 0])]
    assert [rater.passes(PAPER) for rater in raters] == [True, False]
    said = "\n".join(remarks(raters, PAPER))
    assert "1 raters, 6 questions" in said
    assert "checks wrong: careless" in said
    assert "2 of 12 answers are missing (anna 2)" in said
    assert "of one rater" in said
    text = as_markdown(score([raters[0]], PAPER, 0), [])
    assert "| all | model | 100.0 [100.0, 100.0] | 2 |" in text


KEY = {"format": 1, "page": "c0ffee00" * 8, "items": PAPER}
GOOD = {"format": 1, "page": KEY["page"], "rater": "anna", "answers": [0, 0, 0, 1, None, 2], "seconds": [1] * 6}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_good_answers_are_read(tmp_path):
    assert read_key(write(tmp_path / "key.json", KEY)) == KEY
    (rater,) = read_raters([write(tmp_path / "a.json", GOOD)], KEY)
    assert rater == Rater("anna", [0, 0, 0, 1, None, 2])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (GOOD | {"page": "deadbeef" * 8}, "answers page deadbeef, the key is of page c0ffee00"),
        (GOOD | {"page": None}, "another page, or one that was edited"),
        (GOOD | {"answers": [0, 0]}, "holds 2 answers, the page has 6 questions"),
        (GOOD | {"answers": None}, "holds no answers"),
        (GOOD | {"answers": [2, 0, 0, 1, None, 2]}, "question 1: 2 is not one of its 2 choices"),
        (GOOD | {"answers": [0, True, 0, 1, None, 2]}, "question 2: True is not one of"),
        (GOOD | {"answers": ["0", 0, 0, 1, None, 2]}, "question 1: '0' is not one of"),
        (GOOD | {"rater": " "}, "names no rater"),
        ("[1]", "holds no answers and no key"),
        ("{", "not JSON"),
        ("[" * 100000, "nested too deeply"),
    ],
)
def test_answers_that_cannot_be_right_are_refused_by_file(tmp_path, content, complaint):
    with pytest.raises(UserError, match=complaint) as caught:
        read_raters([write(tmp_path / "b.json", content)], KEY)
    assert "b.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_rater_who_is_there_twice_and_a_file_that_is_not_are_refused(tmp_path):
    paths = [write(tmp_path / name, GOOD) for name in ("a.json", "b.json")]
    with pytest.raises(UserError, match=r"rater 'anna' is in .*a\.json and in .*b\.json"):
        read_raters(paths, KEY)
    with pytest.raises(UserError, match="cannot be read"):
        read_raters([tmp_path / "none.json"], KEY)


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        KEY | {"format": 2},
        KEY | {"items": [item("beauty", "A", "B")]},
        KEY | {"items": [item("quality", "A")]},
        KEY | {"items": [item("caption", "A", expected=3)]},
        KEY | {"items": None},
    ],
)
def test_what_is_no_key_is_refused(tmp_path, content):
    with pytest.raises(UserError, match="is not the key of a rating page"):
        read_key(write(tmp_path / "key.json", content))
