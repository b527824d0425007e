"""benchmarks/race.py: what is counted, what is kept, and a race of a few seconds."""

import argparse
import json
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from imagen.data.pixels import from_uint8
from imagen.errors import UserError
from imagen.evaluation.prompts.prompt_set import shapes_prompts
from imagen.places import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import race
import race_ours
import race_peer
from race_rules import STAGES, Contestant, Point, Rules

PICTURES = 6


class Painter(Contestant):
    """Draws the true pictures at guidance weight 1, and grey ones otherwise."""

    description = "paints"

    def __init__(self):
        self.trained, self.sampled = 0, []

    def train(self, rules, folder):
        self.trained += 1
        facts = {stage: {"parameters": 2e6, "steps": 7, "batch_size": 4} for stage in STAGES}
        return {"minutes": rules.minutes, **facts}

    def points(self, weights, timesteps):
        return [Point(weight, (4, 2)) for weight in weights]

    def sampler(self, folder, point):
        scenes = shapes_prompts(PICTURES, race.PROMPT_SEED)
        true = from_uint8(np.stack([scenes.draw_truth(i, 32) for i in range(PICTURES)]))

        def sample(text):
            assert len(text) == PICTURES
            self.sampled.append(point.weight)
            return true if point.weight == 1 else torch.zeros_like(true)

        return sample


@pytest.fixture
def painter(monkeypatch):
    painter = Painter()
    monkeypatch.setitem(race.CONTESTANTS, "painter", painter)
    monkeypatch.setattr(race, "run_alone", lambda arguments: 0)  # embeds all captions
    return painter


def options(out, *arguments: str) -> argparse.Namespace:
    return race.parse_arguments(["--out", str(out), "--pictures", str(PICTURES), "--threads", "1", *arguments])


def test_true_pictures_are_right_and_grey_ones_wrong(painter, tmp_path, capsys):
    race.race(options(tmp_path, "--contestants", "painter", "--minutes", "3"))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| painter")]
    assert [line.split(" | ")[1:6] for line in lines] == [
        ["3.0", "2.0 + 2.0", "7 + 7", weight, "4 + 2"] for weight in "13"
    ]
    assert f"{PICTURES} of {PICTURES} [" in lines[0]
    assert "1.00] | 1.00 |" in lines[0]
    assert f"0 of {PICTURES} [0.00" in lines[1]
    samples = json.loads((tmp_path / "results.json").read_text())["contestants"]["painter"]["samples"]
    assert samples["w1_4_2"]["right"] == [True] * PICTURES
    assert samples["w3_4_2"]["parts"]["shapes"] == {"right": 0, "of": PICTURES}
    assert samples["w3_4_2"]["guidance_weights"] == [3.0, 1.5]


def test_what_is_finished_is_not_done_again(painter, tmp_path):
    race.race(options(tmp_path, "--contestants", "painter", "--weights", "1"))
    race.race(options(tmp_path, "--contestants", "painter", "--weights", "1", "3"))
    assert (painter.trained, painter.sampled) == (1, [1.0, 3.0])


def test_the_table_has_all_that_are_in_the_folder(painter, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(race.CONTESTANTS, "another", Painter())
    for name in ("painter", "another"):
        race.race(options(tmp_path, "--contestants", name, "--weights", "1"))
    lines = capsys.readouterr().out.splitlines()[-6:]
    assert [line.split(" | ")[0] for line in lines if line.endswith("|")][-2:] == ["| painter", "| another"]


def test_other_minutes_are_another_race(painter, tmp_path):
    race.race(options(tmp_path, "--contestants", "painter", "--minutes", "3"))
    with pytest.raises(UserError, match=r"result\.json was made with .*'minutes': 3.0.*: give another --out"):
        race.race(options(tmp_path, "--contestants", "painter", "--minutes", "4"))


def test_a_missing_peer_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(race, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"imagen-pytorch is not installed: pip install .*, or --contestants ours"):
        race.race(options(tmp_path, "--contestants", "ours", "peer"))


def test_the_learning_rate_warms_up_and_is_spent_with_the_time(monkeypatch):
    now = 100.0
    monkeypatch.setattr(race_peer.time, "monotonic", lambda: now)
    factor = race_peer.warmup_then_cosine_of_time(warmup_steps=3, seconds=10)
    assert [factor(step) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    now = 105.0
    assert factor(50) == pytest.approx(0.5)
    now = 111.0
    assert factor(99) == 0


@pytest.mark.slow
def test_ours_runs_a_race_of_three_steps(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(race_ours, "affordable_steps", lambda demo, stages, *_: dict.fromkeys(stages, 3))
    race.race(options(tmp_path, "--contestants", "ours", "--minutes", "0.1"))
    assert "| ours |" in capfd.readouterr().out
    result = json.loads((tmp_path / "ours" / "result.json").read_text())
    assert result["training"]["base"]["steps"] == 3
    assert result["training"]["sr1"]["batch_size"] == 32
    assert all(len(sample["right"]) == PICTURES for sample in result["samples"].values())


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The embedded captions: two trainings at once cannot both make them."""
    folder = tmp_path_factory.mktemp("cache")
    race.embed_all_captions(folder)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(find_spec("imagen_pytorch") is None, reason="the extra `benchmark` is not installed")
@pytest.mark.parametrize("name", race_peer.RECIPES)
def test_the_peer_trains_and_samples(name, tmp_path, cache):
    contestant = race_peer.Peer(name)
    facts = contestant.train(Rules(minutes=0.1, pictures=2, threads=2, cache=cache), tmp_path)
    assert all(facts[stage]["steps"] >= 1 for stage in STAGES)  # as many as a busy machine takes in 6 s
    text = race.embedded(shapes_prompts(2, race.PROMPT_SEED))
    images = contestant.sampler(tmp_path, Point(3.0, (3, 3)))(text)
    assert images.shape == (2, 3, 32, 32)
    assert images.abs().max() <= 1
