from pathlib import Path

import pytest

from imagen.evaluation.judges.clip import ClipJudge
from imagen.files import sha256_of_file
from imagen.shipped.judge_card import FRESH_SEED, right_against_wrong
from imagen.shipped.judge_model import IMAGE_SIZE, RECIPES
from imagen.shipped.judge_training import draw_scenes, judge_scene

ASSETS = Path(__file__).parents[2] / "assets"


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_shipped_judge_is_the_one_on_its_card_and_sees_what_the_card_says(name):
    folder = ASSETS / f"judge_{name}"
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    weights = folder / "model.safetensors"
    assert sha256_of_file(weights) in card
    assert weights.stat().st_size < 8e6
    judge = ClipJudge(folder, f"shapes-judge-{name}", device="cpu")
    scenes = [judge_scene(FRESH_SEED, index) for index in range(32)]
    accuracy = right_against_wrong(judge, scenes, judge.image_features(draw_scenes(scenes, IMAGE_SIZE)))
    rows = [line.strip("| ").split("|") for line in card.splitlines()]
    on_card = {row[0].strip(): float(row[1]) for row in rows if len(row) == 2 and row[0].strip() in accuracy}
    assert on_card.keys() == accuracy.keys()
    # 32 scenes, up to 10 wrong captions each, against the 512 of the card.
    assert accuracy == pytest.approx(on_card, abs=0.3)
    assert min(accuracy[attribute] for attribute in ("colour", "background", "size")) > 0.95
    assert accuracy["shape"] > 0.8


def test_judges_are_trained_on_scenes_of_their_own():
    seeds = [recipe.seed for recipe in RECIPES.values()]
    assert len({*seeds, FRESH_SEED}) == len(seeds) + 1
    firsts = {judge_scene(seed, 0) for seed in (*seeds, FRESH_SEED)}
    assert len(firsts) == len(seeds) + 1
