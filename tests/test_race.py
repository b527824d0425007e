"""benchmarks/race.py: what is counted, what is kept, and a race of a few seconds."""

import argparse
import json
import math
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from imagen.data.pixels import from_uint8
from imagen.errors import UserError
from imagen.evaluation.prompts.prompt_set import shapes_prompts
from imagen.instantiation import instantiate
from imagen.places import ROOT
from imagen.sampling.settings import AUG_LEVEL

sys.path.insert(0, str(ROOT / "benchmarks"))

import race
import race_noise
import race_ours
import race_peer
from race_rules import STAGES, Contestant, Point, Rules

PICTURES = 6
WITH_PEER = pytest.mark.skipif(find_spec("imagen_pytorch") is None, reason="the extra `benchmark` is not installed")


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


@pytest.mark.parametrize(
    ("option", "value"),
    [("threads", "0"), ("minutes", "0"), ("minutes", "nan"), ("minutes", "inf"), ("pictures", "0"), ("timesteps", "0")],
)
def test_a_number_that_cannot_be_is_refused_in_one_line(option, value, painter, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(race, "prepare_environment", lambda: None)
    arguments = ["--contestants", "painter", "--out", str(tmp_path), f"--{option}", value]
    monkeypatch.setattr(sys, "argv", ["race.py", *arguments])
    assert race.main() == 2
    assert capsys.readouterr().err.splitlines() == [f"error: --{option} {value}: give a finite number above 0"]
    assert painter.trained == 0


def test_a_guidance_weight_that_cannot_be_is_refused_before_a_training(painter, tmp_path):
    with pytest.raises(UserError, match="guidance weight is -1"):
        race.race(options(tmp_path, "--contestants", "painter", "--weights", "1", "-1"))
    assert painter.trained == 0


@pytest.mark.parametrize(("minutes", "kept"), [(9.0, True), (10.09, True), (10.2, False)])
def test_ours_is_not_kept_if_it_took_longer(minutes, kept, tmp_path, monkeypatch):
    """The step count comes from a pace of some seconds: a wrong one must not give us more time."""
    clock = SimpleNamespace(now=50.0, monotonic=lambda: clock.now)

    def train(commands):
        clock.now += 60 * minutes
        return 0

    monkeypatch.setattr(race, "run_alone", lambda arguments: 0)  # embeds all captions
    monkeypatch.setattr(race_ours, "time", clock)
    monkeypatch.setattr(race_ours, "run_together", train)
    monkeypatch.setattr(race_ours, "affordable_steps", lambda demo, stages, *_: dict.fromkeys(stages, 3))
    monkeypatch.setattr(race_ours, "_facts", lambda folder, stage: {})
    rules = Rules(minutes=10, pictures=2, threads=1, cache=tmp_path)
    prompts = shapes_prompts(2, race.PROMPT_SEED)
    if kept:
        race.run("ours", rules, [], prompts, tmp_path)
    else:
        line = r"ours: training took 10\.20 minutes of 10, and is not kept: run again on a quieter machine, .*$"
        with pytest.raises(UserError, match=line):
            race.run("ours", rules, [], prompts, tmp_path)
    assert (tmp_path / "ours" / "result.json").is_file() == kept


class Schedule:
    """As those of imagen-pytorch: 'linear', or 'cosine'."""

    def __init__(self, cosine=False):
        self.log_snr = self.cosine if cosine else self.linear

    def linear(self, time):
        return -(1e-4 + 10 * time**2).expm1().log()

    def cosine(self, time):
        return -2 * ((time + 0.008) / 1.008 * math.pi / 2).tan().clamp(min=1e-5).log()

    def sample_random_times(self, batch_size, *, device):
        return torch.rand(batch_size, device=device)


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("log_snr", [-3.0, 2.0, 6.66])
def test_the_time_of_a_log_snr_is_the_last_that_has_it(cosine, log_snr):
    schedule = Schedule(cosine)
    time = torch.tensor(race_noise.time_of(schedule, log_snr), dtype=torch.float64)
    assert schedule.log_snr(time) == pytest.approx(log_snr)
    assert schedule.log_snr(time) >= log_snr > schedule.log_snr(time + 1e-9)


def test_limited_times_have_the_log_snr_and_are_uniform():
    schedule = Schedule()
    assert (schedule.log_snr(torch.linspace(0, 1, 10001)) >= 2).float().mean() == pytest.approx(0.11, abs=0.005)
    race_noise.limit_times(schedule, 2.0)
    times = schedule.sample_random_times(10000, device="cpu")
    assert times.shape == (10000,)
    assert times.dtype == torch.float32
    assert schedule.log_snr(times).min() >= 2 - 1e-4  # float32
    last = race_noise.time_of(schedule, 2.0)
    shares = torch.histc(times, bins=10, min=0, max=last) / len(times)
    assert torch.allclose(shares, torch.full((10,), 0.1), atol=0.02)


def test_our_noise_is_that_of_our_experiments():
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        stages = [compose("train", [f"experiment=demo_{stage}"]).stage for stage in STAGES]
    augmentation = instantiate(stages[1].conditioner.augmentation)
    level = augmentation(torch.tensor([0.0, AUG_LEVEL, 1.0], dtype=torch.float64)).log_snr
    ours = race_noise.OURS
    assert (level[2].item(), level[1].item()) == pytest.approx((ours.lowres_min, ours.lowres_sampling), abs=0.005)
    for stage, shift in zip(stages, ours.shifts, strict=True):
        peer = Schedule(cosine=True)
        race_noise.shift_log_snr(peer, shift)
        times = torch.linspace(0.1, 0.95, 18, dtype=torch.float64)
        assert torch.allclose(peer.log_snr(times), instantiate(stage.schedule)(times).log_snr, atol=0.15)


@WITH_PEER
@pytest.mark.parametrize("name", race_peer.RECIPES)
def test_the_peer_has_our_noise_in_its_best_recipes_alone(name, monkeypatch):
    torch.manual_seed(0)
    recipe = race_peer.RECIPES[name]
    imagen = race_peer.make_imagen(recipe, text_features=8)
    theirs = race_peer.make_imagen(race_peer.Recipe(""), text_features=8)
    schedule, their_schedule = imagen.lowres_noise_schedule, theirs.lowres_noise_schedule
    draws = []
    for drawing in (schedule, their_schedule):
        torch.manual_seed(1)
        draws.append(drawing.sample_random_times(5000, device="cpu"))
    sampled = schedule.log_snr(torch.tensor(imagen.lowres_sample_noise_level))
    used = times_of_the_small_pictures(imagen, schedule, monkeypatch)
    if name in ("peer-best", "peer-elucidated"):
        assert schedule.log_snr(draws[0]).min() >= 2 - 1e-4
        assert schedule.log_snr(used).min() >= 2 - 1e-4
        assert len(used.unique()) == len(used)  # drawn for each picture
        assert imagen.lowres_sample_noise_level == pytest.approx(0.0109, abs=1e-4)
        assert sampled.item() == pytest.approx(6.66, abs=0.01)
    else:
        assert torch.equal(*draws)
        assert imagen.lowres_sample_noise_level == 0.2
    if not recipe.elucidated:
        times = torch.linspace(0.05, 0.95, 19)
        pairs = zip(imagen.noise_schedulers, theirs.noise_schedulers, strict=True)
        added = [(mine.log_snr(times) - their.log_snr(times)).mean().item() for mine, their in pairs]
        assert added == pytest.approx([math.log(4), -math.log(4)] if name == "peer-best" else [0, 0], abs=1e-4)


def times_of_the_small_pictures(imagen, schedule, monkeypatch):
    """Those at which one training step of super-resolution adds noise to them."""
    used, add_noise = [], schedule.q_sample

    def q_sample(x_start, t, noise=None):
        used.append(t)
        return add_noise(x_start=x_start, t=t, noise=noise)

    monkeypatch.setattr(schedule, "q_sample", q_sample)
    text = {"text_embeds": torch.randn(16, 3, 8), "text_masks": torch.ones(16, 3, dtype=torch.bool)}
    imagen(torch.rand(16, 3, 32, 32), **text, unet_number=2)
    (times,) = used
    return times


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
    chosen = ("--contestants", "ours", "--weights", "3", "--minutes", "9")  # more than a busy machine takes
    race.race(options(tmp_path, *chosen))
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
@WITH_PEER
@pytest.mark.parametrize("name", race_peer.RECIPES)
def test_the_peer_trains_and_samples(name, tmp_path, cache):
    contestant = race_peer.Peer(name)
    facts = contestant.train(Rules(minutes=0.1, pictures=2, threads=2, cache=cache), tmp_path)
    assert all(facts[stage]["steps"] >= 1 for stage in STAGES)  # as many as a busy machine takes in 6 s
    text = race.embedded(shapes_prompts(2, race.PROMPT_SEED))
    images = contestant.sampler(tmp_path, Point(3.0, (3, 3)))(text)
    assert images.shape == (2, 3, 32, 32)
    assert images.abs().max() <= 1
