"""The page for raters: what it holds, what it hides, and that its key holds the rest."""

import base64
import hashlib
import io
import json
import random
import re
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from imagen.errors import UserError
from imagen.evaluation.rating.items import REAL, arrange, drawbench_items, exhibits, paper_items, with_checks
from imagen.evaluation.rating.page import make_page
from imagen.evaluation.results.archive import Archive
from imagen.evaluation.results.results import GROUND_TRUTH, NOISE

TEXTS = ["a </script><b>red</b> circle", "a blue square", "a blue square", "a green ring"]
LEVELS = {"secret-model": 10, "other-model": 60, REAL: 110, NOISE: 160}
"""Picture i of a source is a flat picture of level + i, so that a picture says where it comes from."""


def flat(level, count=4):
    return torch.stack([torch.full((4, 4, 3), level + i, dtype=torch.uint8) for i in range(count)])


def archive(model, texts=tuple(TEXTS), controls=(GROUND_TRUTH, NOISE)):
    named = {GROUND_TRUTH: flat(LEVELS[REAL]), NOISE: flat(LEVELS[NOISE])}
    pictures = {"dynamic-w2.0": flat(LEVELS[model])} | {name: named[name] for name in controls}
    return Archive(list(texts), ["Colors", "Counting", "Counting", "Text"], ["dynamic-w2.0"], pictures, {})


def shown(*models, count=None, **options):
    return exhibits([archive(model, **options) for model in models], models, ["dynamic-w2.0"] * len(models), count)


def data_of(page):
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.DOTALL)
    return data


def level_of(picture):
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        assert image.info == {}  # no metadata, which would tell
        return int(np.asarray(image)[0, 0, 0])


def sources_seen(page):
    """For every item, the sources of its sides, told from the pictures themselves."""
    data = json.loads(data_of(page))
    levels = [level_of(picture) for picture in data["pictures"]]
    source_at = {level + i: (name, i) for name, level in LEVELS.items() for i in range(4)}
    return [[[source_at[levels[index]] for index in side] for side in item["sides"]] for item in data["items"]]


@pytest.fixture
def paper():
    exhibition = shown("secret-model")
    draw = random.Random(3)
    items = arrange(with_checks(paper_items(exhibition), exhibition, 2, draw), draw)
    return make_page(exhibition, items)


def test_the_key_says_what_the_page_shows(paper):
    page, key = paper
    seen = sources_seen(page)
    assert [item["sources"] for item in key["items"]] == [[side[0][0] for side in sides] for sides in seen]
    for item, sides in zip(key["items"], seen, strict=True):
        rows = {row for side in sides for _, row in side}
        assert len(rows) == 1  # both sides show the same prompt
        assert item["caption"] == TEXTS[rows.pop()]


def test_the_paper_asks_for_realism_against_the_real_picture_and_for_the_caption_of_both(paper):
    _, key = paper
    asked = Counter((item["question"], *sorted(item["sources"])) for item in key["items"] if item["expected"] is None)
    assert asked == {
        ("photorealism", REAL, "secret-model"): 4,
        ("caption", "secret-model"): 4,
        ("caption", REAL): 4,
    }


def test_the_page_names_no_source_and_is_one_file(paper):
    page, _ = paper
    for word in ("secret", "model", "real pictures", NOISE, "ground", "dynamic", "expected", "Counting"):
        assert word not in data_of(page)
    assert not re.findall(r"""https?://|src=["'][^d]|href=["']""", page)


def test_the_key_names_the_page_by_its_data_and_a_caption_cannot_leave_them(paper):
    page, key = paper
    assert key["page"] == hashlib.sha256(data_of(page).encode()).hexdigest()
    captions = {item.get("caption") for item in json.loads(data_of(page))["items"]}
    assert TEXTS[0] in captions
    assert "<b>red" not in page


def test_checks_show_noise_and_expect_the_other_side_or_a_no(paper):
    page, key = paper
    checks = [
        (item, sides)
        for item, sides in zip(key["items"], sources_seen(page), strict=True)
        if item["expected"] is not None
    ]
    assert Counter(item["question"] for item, _ in checks) == {"photorealism": 2, "caption": 2}
    for item, sides in checks:
        if item["question"] == "caption":
            assert sides[0][0][0] == NOISE
            assert item["expected"] == 2
        else:
            assert sides[1 - item["expected"]][0][0] == NOISE


def test_sides_and_order_are_drawn_from_the_seed():
    exhibition = shown("secret-model", "other-model")
    items = paper_items(exhibition) * 8
    one, same, other = (arrange(items, random.Random(seed)) for seed in (1, 1, 2))
    assert one == same != other
    left = Counter(item.sources[0] for item in one if item.question.sides == 2)
    assert 6 <= left["secret-model"] <= 26  # of 32


def test_drawbench_compares_all_pictures_of_a_prompt_as_sets():
    exhibition = shown("secret-model", "other-model")
    page, key = make_page(exhibition, drawbench_items(exhibition))
    assert [item["question"] for item in key["items"]] == ["quality"] * 3 + ["alignment"] * 3
    seen = sources_seen(page)
    assert seen[1] == [[("secret-model", 1), ("secret-model", 2)], [("other-model", 1), ("other-model", 2)]]
    assert key["items"][1]["category"] == "Counting"


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: drawbench_items(shown("secret-model")), "give two evaluations"),
        (lambda: paper_items(shown("secret-model", controls=(NOISE,))), "no real pictures"),
        (lambda: shown("secret-model", count=5), "keeps 4 pictures of a cell and --count is 5"),
        (lambda: shown("secret-model", count=0), "--count is 0"),
        (
            lambda: with_checks(
                paper_items(shown("secret-model", controls=(GROUND_TRUTH,))),
                shown("secret-model", controls=(GROUND_TRUTH,)),
                1,
                random.Random(0),
            ),
            "--checks 0",
        ),
    ],
)
def test_pages_that_cannot_be_made_are_refused(make, complaint):
    with pytest.raises(UserError, match=complaint):
        make()


def test_two_evaluations_of_other_prompts_are_refused():
    archives = [archive("secret-model"), archive("other-model", texts=TEXTS[::-1])]
    with pytest.raises(UserError, match="different prompts"):
        exhibits(archives, ["one", "two"], ["dynamic-w2.0"] * 2, None)
