"""What a picture costs: measured once and kept, never guessed; and what the report says of it."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from imagen.evaluation.report.cost.findings import cost_finding
from imagen.evaluation.report.cost.numbers import cost_json, cost_numbers
from imagen.evaluation.report.cost.plot import plot_cost
from imagen.evaluation.report.findings import findings
from imagen.evaluation.report.report import as_json, as_markdown
from imagen.evaluation.report.tables import curve_table
from imagen.evaluation.report.tensorboard import run_name, write_tensorboard
from imagen.evaluation.results.cost import PASSES, SECONDS, Cost, compared_by, was_busy
from imagen.evaluation.sweep.blocks import save_atomically
from imagen.evaluation.sweep.plan import Cell, Curve, Plan
from imagen.evaluation.sweep.timing import Timed, Timing, timings
from imagen.files import read_tensors

from .hand_made import ALIGN, FD, made, scores
from .stand_ins import DrawingSampler
from .test_sweep import evaluation, files

HERE = [("cpu", 1)]


def plan(sampler, weights=(1, 4), timed=None):
    """One curve of 3 passes for each unit of weight. `timed`: seconds of all pictures of a call."""

    def sample(captions, picture_ids, guidance_weight):
        pictures = sampler("few", captions, picture_ids, guidance_weight)
        return pictures if timed is None else Timed(pictures, timed * len(pictures), "a GPU")

    return Plan({"few": Curve(sample, {"steps": 3}, passes=lambda weight: {"base": 3 * round(weight)})}, weights)


@pytest.fixture
def no_report(monkeypatch):
    monkeypatch.setattr("imagen.evaluation.report.report.write_report", lambda results, out: None)


@pytest.mark.usefixtures("no_report", "steady_clock")
class TestMeasured:
    """Blocks of five pictures take half a second, and the last one of two as well."""

    def costs(self, *arguments, **options):
        return [one.cost for one in evaluation(*arguments, **options).run(self.plan).cells]

    @pytest.fixture(autouse=True)
    def _plan(self, sampler):
        self.plan = plan(sampler)

    def test_a_resumed_sweep_keeps_the_seconds_it_had(self, tmp_path, judge, prompts, sampler, monkeypatch):
        first = self.costs(tmp_path, [judge], prompts)
        assert [one.seconds for one in first] == [0.1, 0.1]
        assert [one.passes for one in first] == [{"base": 3}, {"base": 12}]
        assert first[0].sampled_on == [(None, torch.get_num_threads())]
        sampler.made.clear()
        monkeypatch.setattr("imagen.evaluation.sweep.sweep.perf_counter", lambda: pytest.fail("measured again"))
        assert self.costs(tmp_path, [judge], prompts) == first
        assert sampler.made == []

    def test_blocks_of_an_earlier_version_have_none_and_are_not_made_again(self, tmp_path, judge, prompts, sampler):
        new = evaluation(tmp_path, [judge], prompts).run(self.plan)
        for path in (tmp_path / "blocks").rglob("few-w4.0/*.safetensors"):
            metadata, tensors = read_tensors(path)
            header = json.loads(metadata["block"])
            del header["timings"]
            save_atomically(tensors, {"block": json.dumps(header, sort_keys=True)}, path)
        before = files(tmp_path / "blocks")
        sampler.made.clear()
        old = evaluation(tmp_path, [judge], prompts).run(self.plan)
        assert sampler.made == []
        assert files(tmp_path / "blocks") == before
        assert old.cells == new.cells
        assert [one.cost.seconds for one in old.cells] == [0.1, None]
        assert old.cells[1].cost == Cost(None, {"base": 12}, [])
        rows = {row[0]: row[1:] for row in curve_table(old, "few")}
        assert rows["seconds per picture"] == ["0.1", "–"]
        assert rows["network passes per picture, base"] == ["3", "12"]

    def test_a_block_of_an_earlier_version_that_is_made_longer_times_what_is_new(self, tmp_path, judge, prompts):
        evaluation(tmp_path, [judge], prompts.first(7)).run(self.plan)
        for path in (tmp_path / "blocks").rglob("few-*/block-00001.safetensors"):
            metadata, tensors = read_tensors(path)
            header = json.loads(metadata["block"])
            del header["timings"]
            save_atomically(tensors, {"block": json.dumps(header, sort_keys=True)}, path)
        made = evaluation(tmp_path, [judge], prompts).make(self.plan)
        seconds = [one and one.seconds for one in made.cells[Cell("few", 1.0)].timings]
        assert seconds == [0.1] * 5 + [None] * 2 + [round(0.5 / 3, 6)] * 3 + [0.25] * 2

    def test_controls_are_drawn_and_so_have_no_seconds(self, tmp_path, judge, prompts):
        made = evaluation(tmp_path, [judge], prompts).make(self.plan)
        assert not any(any(block.timings) for block in made.controls.values())
        path = next((tmp_path / "blocks").rglob("noise/block-00000.safetensors"))
        assert "timings" not in json.loads(read_tensors(path)[0]["block"])

    def test_a_sampler_may_know_its_time_better_than_the_clock(self, tmp_path, judge, prompts, sampler):
        results = evaluation(tmp_path, [judge], prompts).run(plan(sampler, timed=7.0))
        assert results.cells[0].cost.seconds == 7
        assert results.cells[0].cost.sampled_on == [("a GPU", torch.get_num_threads())]


def test_the_median_forgives_a_machine_that_was_busy_for_a_while():
    some = Plan({"few": Curve(DrawingSampler, {})}, [1])
    timed = [Timing(0.1, "cpu", 1)] * 5 + [Timing(9.0, "cpu", 2)] * 4 + [None] * 20
    assert Cost.of(some, Cell("few", 1.0), timed) == Cost(0.1, {}, [("cpu", 1), ("cpu", 2)])
    assert Cost.of(some, Cell("few", 1.0), [None] * 3) == Cost(sampled_on=[])


def test_pictures_sampled_together_share_their_seconds():
    assert timings(3.0, "cpu", 4) == [Timing(0.75, "cpu", torch.get_num_threads())] * 4
    assert timings(None, "cpu", 2) == [None, None]


def test_passes_of_all_stages_are_known_only_if_those_of_each_are():
    assert Cost(passes={"base": 16, "sr1": 8}).all_passes == 24
    assert Cost(passes={"base": 16, "sr1": None}).all_passes is None
    assert Cost().all_passes is None


def costs(seconds, passes=None, on=HERE):
    return [Cost(one, {} if passes is None else {"base": passes}, on) for one in seconds]


@pytest.mark.parametrize(
    ("curves", "measure"),
    [
        ({"few": costs([0.1, 0.2]), "many": costs([1.0, 1.1])}, SECONDS),
        ({"few": costs([0.1, 0.2])}, None),
        ({"one": costs([1.0, 1.1, 1.0]), "other": costs([1.1, 1.0, 1.2])}, None),
        ({"few": costs([0.1], 4), "many": costs([1.0], 8, [("cpu", 2)])}, PASSES),
        ({"few": costs([None], 4, []), "many": costs([1.0], 8)}, PASSES),
        ({"few": costs([None], None, []), "many": costs([1.0], 8)}, None),
        ({"few": costs([None], 8, []), "many": costs([None], 8, [])}, None),
        ({"few": costs([0.0]), "many": costs([1.0])}, None),
        ({"few": costs([0.2, 0.1], 4), "many": costs([1.0], 8)}, PASSES),
    ],
    ids=["seconds", "one", "alike", "two machines", "not measured", "unknown", "equal", "nothing", "busy"],
)
def test_costs_are_compared_by_seconds_of_one_machine_or_by_passes(curves, measure):
    assert compared_by(curves) is measure


def test_more_passes_may_take_longer_and_fewer_may_not():
    one_pass, two_passes = Cost(0.5, {"base": 4}), Cost(0.9, {"base": 8})
    assert not was_busy([one_pass, two_passes])
    assert not was_busy([one_pass, Cost(0.6, {"base": 4})])
    assert was_busy([one_pass, Cost(0.7, {"base": 4})])
    assert was_busy([two_passes, Cost(1.2, {"base": 4})])
    assert not was_busy([Cost(0.1), Cost(9.0)])  # passes are not known


def with_costs(curves, seconds, passes=None):
    """`made` with the costs of each curve."""

    def cost(label):
        return Cost(seconds[label], {"base": passes[label]} if passes else {}, HERE)

    results = made(curves)
    return replace(results, cells=[replace(one, cost=cost(one.cell.curve)) for one in results.cells])


STEPS = {"4": 0.1, "8": 0.2, "64": 1.6}


def steps(four, eight, sixty_four, key=ALIGN, **options):
    return with_costs({"4": {1: {key: four}, 3: {key: four - 1}}, "8": {3: {key: eight}}, "64": {3: {key: sixty_four}}},
                      STEPS, **options)  # fmt: skip


def test_the_cheapest_curve_that_is_not_told_apart_from_the_best_is_named():
    results = steps(scores(4.0), scores(5.19, own=1), scores(5.2), passes={"4": 8, "8": 16, "64": 128})
    assert cost_finding(results) == (
        "**Cost** (seconds per picture on cpu, 1 thread): by `align[j]` the cheapest curve not told apart from the "
        "best, 64 at w = 3 (1.6 s, 128 passes), is 8 at w = 3 (0.2 s, 16 passes)."
    )
    assert cost_finding(results) in findings(results)
    nearer = steps(scores(5.18, own=1), scores(5.19, own=1), scores(5.2))
    assert "from the best, 64 at w = 3 (1.6 s), is 4 at w = 1 (0.1 s)" in cost_finding(nearer)


def test_a_distance_is_best_where_it_is_lowest():
    results = with_costs({"4": {1: {FD: scores(5.0)}}, "64": {1: {FD: scores(5.01, own=1)}}}, STEPS)
    assert "by `fd[j]` no curve costs noticeably less than the best, 4 at w = 1 (0.1 s)" in cost_finding(results)


def test_where_all_cheaper_curves_are_worse_that_is_said():
    text = cost_finding(steps(scores(4.0), scores(4.9), scores(5.2)))
    assert "by `align[j]` every curve that costs noticeably less is told apart from the best, 64 at w = 3" in text


def test_without_paired_intervals_or_a_difference_in_cost_nothing_is_said():
    assert cost_finding(steps(scores(4.0), 4.9, scores(5.2))) == ""
    curves = {"4": {1: {ALIGN: scores(4.0)}}, "8": {1: {ALIGN: scores(5.0)}}}
    assert cost_finding(with_costs(curves, {"4": 0.1, "8": 0.1})) == ""


def test_the_plot_is_drawn_where_curves_differ_in_cost_and_removed_where_they_do_not(tmp_path):
    path = tmp_path / "cost.png"
    curves = {label: {w: {ALIGN: scores(5 + w / 9), FD: scores(8 + w)} for w in (1, 3)} for label in ("4", "64")}
    differing = with_costs(curves, STEPS)
    plot_cost(differing, path)
    with Image.open(path) as image:
        assert image.width > 800
        colours = {pixel for _, pixel in image.convert("RGB").getcolors(1 << 20)}
    assert {(0x2B, 0x8A, 0x3E), (0xA6, 0x1E, 0x4D)} <= colours  # both curves
    assert "![cost](cost.png)" in as_markdown(differing)
    alike = with_costs(curves, {"4": 0.1, "64": 0.11})
    plot_cost(alike, path)
    assert not path.exists()
    assert "![cost](cost.png)" not in as_markdown(alike)


def test_results_json_says_what_a_picture_costs_and_where_that_was_measured():
    results = with_costs({"4": {1: {ALIGN: scores(5.0)}}}, {"4": 0.25}, {"4": 8})
    (cell,) = as_json(results)["cells"]
    expected = {"seconds_per_picture": 0.25, "passes": {"base": 8}, "sampled_on": [{"device": "cpu", "threads": 1}]}
    assert {key: cell[key] for key in expected} == expected == cost_json(results.cells[0].cost)
    assert cost_json(Cost()) == {"seconds_per_picture": None, "passes": {}, "sampled_on": []}


def test_the_interactive_plot_gets_what_is_known():
    assert cost_numbers(Cost(0.25, {"base": 8, "sr1": 4})) == {
        "seconds per picture": 0.25, "network passes per picture": 12,
    }  # fmt: skip
    assert cost_numbers(Cost(None, {"base": 8})) == {"network passes per picture": 8}
    assert cost_numbers(Cost()) == {}


def test_tensorboard_has_costs_as_scalars_and_in_the_scatter_matrix(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    results = with_costs({"4": {1: {ALIGN: scores(5.0)}}, "8": {1: {ALIGN: scores(5.0)}}}, STEPS, {"4": 8, "8": 16})
    results = replace(
        results, pictures={one.cell.name: torch.empty((0, 8, 8, 3), dtype=torch.uint8) for one in results.cells}
    )
    write_tensorboard(results, tmp_path)
    for folder in ("8", run_name(results.cells[1])):
        log = EventAccumulator(str(tmp_path / folder))
        log.Reload()
        found = {tag: log.Scalars(tag)[0].value for tag in log.Tags()["scalars"] if tag.startswith("cost")}
        assert found == pytest.approx({"cost/seconds_per_picture": 0.2, "cost/passes": 16, "cost/passes/base": 16})
