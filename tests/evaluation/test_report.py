import csv
import json
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from imagen.diffusion.guidance import LARGEST_WEIGHT
from imagen.evaluation.report.html import as_html
from imagen.evaluation.report.page.document import plotly
from imagen.evaluation.report.pareto_plot import dominated
from imagen.evaluation.report.report import as_markdown, write_report
from imagen.evaluation.report.tables import best, change_text, curve_table
from imagen.evaluation.report.tensorboard import run_name, steps_of
from imagen.evaluation.statistics.audit import Audit
from imagen.evaluation.statistics.jackknife import Interval

from .conftest import WEIGHTS


def test_results_json_holds_every_cell_and_calls_itself_not_comparable(run):
    results, out = run
    found = json.loads((out / "results.json").read_text())
    assert found["comparable_to_published"] is False
    assert [(c["curve"], c["guidance_weight"]) for c in found["cells"]] == [
        (label, weight) for label in ("dynamic", "static") for weight in WEIGHTS
    ]
    for cell, result in zip(found["cells"], results.cells, strict=True):
        assert cell["metrics"] == result.metrics
        assert {"fd[tiny]", "align[tiny]", "checker[all]"} <= cell["metrics"].keys()
    assert "fid" not in found["cells"][0]["metrics"]
    assert "clip_score" not in found["cells"][0]["metrics"]
    assert found["samples_per_dimension"] == {"fd[tiny]": 12 / 16}
    assert found["audit"]["agrees"]
    assert found["audit"]["numbers"] == 3 * 6
    assert found["judges"]["tiny"]["files"] == results.judges[0].identity["files"]
    said = {metric["key"]: (metric["judge"], metric["axis"], metric["lower_is_better"]) for metric in found["metrics"]}
    assert said.keys() == found["cells"][0]["metrics"].keys()
    assert said["fd[tiny]"] == ("tiny", "fd", True)
    assert said["align[tiny]"] == ("tiny", "alignment", False)
    assert said["checker[all]"] == (None, "checker", False)
    assert said["checker[abstained]"] == (None, "checker", True)
    assert len(found["fingerprint"]) == 64


def test_sweep_csv_is_tidy_and_equals_the_json(run):
    results, out = run
    with (out / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    cells = {
        (r["name"], float(r["guidance_weight"]), r["metric"]): float(r["value"]) for r in rows if r["kind"] == "cell"
    }
    assert cells == {
        (result.cell.curve, result.cell.guidance_weight, metric): value
        for result in results.cells
        for metric, value in result.metrics.items()
    }
    assert {r["name"] for r in rows if r["kind"] == "control"} == {"ground-truth", "noise", "shuffled-captions"}


def test_intervals_hold_the_numbers_and_a_distance_of_few_pictures_has_none(run):
    results, out = run
    found = json.loads((out / "results.json").read_text())
    for cell in found["cells"]:
        assert "fd[tiny]" not in cell["intervals"]
        assert {"kid[tiny]", "mind[tiny]", "cmmd[tiny]", "align[tiny]", "checker[all]"} <= cell["intervals"].keys()
        for name in ("align[tiny]", "checker[all]"):  # without bias, so the plain number is inside
            assert cell["intervals"][name]["low"] <= cell["metrics"][name] <= cell["intervals"][name]["high"]
    assert found["pictures_for_interval"] == {"fd[tiny]": 64}
    assert "an interval needs 64 pictures" in as_markdown(results)
    with (out / "sweep.csv").open() as file:
        limits = {row["metric"]: (row["low"], row["high"]) for row in csv.DictReader(file) if row["kind"] == "cell"}
    assert limits["fd[tiny]"] == ("", "")
    assert all(float(limit) <= 1 for limit in limits["checker[all]"])


def test_steps_are_paired_differences_of_neighbouring_weights(run):
    results, _ = run
    steps = [step for step in results.steps if step.metric == "checker[all]" and step.curve == "static"]
    assert [(step.from_weight, step.to_weight) for step in steps] == [(1, 1.5), (1.5, 4)]
    values = [result.metrics["checker[all]"] for result in results.curve("static")]
    assert [step.difference.estimate for step in steps] == pytest.approx([b - a for a, b in pairwise(values)])
    assert "| static, 1.5 to 4 |" in as_markdown(results)


def test_pictures_are_written_and_not_blank(run):
    _, out = run
    for name in ("pareto.png", "metrics.png", "grid-dynamic.png", "grid-static.png"):
        with Image.open(out / name) as image:
            pixels = np.asarray(image.convert("RGB"))
        assert pixels.shape[0] > 200
        assert pixels.shape[1] > 400
        assert (pixels < 250).any(axis=-1).mean() > 0.01


def test_the_grid_shows_the_pictures_of_the_cells(run):
    results, out = run
    with Image.open(out / "grid-static.png") as image:
        colours = {tuple(pixel) for pixel in np.asarray(image.convert("RGB")).reshape(-1, 3)}
    last = results.pictures["static-w4.0"][0].numpy()
    assert tuple(last[8, 8]) in colours


def test_a_second_report_is_byte_equal(run, tmp_path):
    results, out = run
    write_report(results, tmp_path)
    names = ["results.json", "sweep.csv", "report.md", "report.html", "pareto.png", "metrics.png", "grid-dynamic.png"]
    assert [name for name in names if (tmp_path / name).read_bytes() != (out / name).read_bytes()] == []


def test_the_markdown_warns_about_few_pictures_and_names_the_best_cell(run):
    results, _ = run
    text = as_markdown(results)
    assert "N / d = 0.75 is below 4" in text
    label, weight, value = best(results, "align[tiny]")
    assert value == max(result.metrics["align[tiny]"] for result in results.cells)
    assert f"| align[tiny] | {value:.4g} | {weight:g} | {label} |" in text
    assert "agreement: 18 numbers" in text


def test_the_html_holds_its_pictures_and_every_number_of_the_tables(run):
    results, out = run
    text = (out / "report.html").read_text(encoding="utf-8").replace(plotly(), "")
    sources = re.findall(r'src="([^"]{1,30})', text)
    assert len(sources) == 5  # Pareto plot, right answers, metrics, two grids
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.findall(r"https?://", text)
    for label in results.curves:
        for row in curve_table(results, label):
            assert all(cell in text for cell in row)
    assert results.facts["fingerprint"] in text


def test_the_html_shows_what_users_wrote_as_text(run, tmp_path):
    results, _ = run
    label = "<script>alert(1)</script>"
    cells = [replace(result, cell=replace(result.cell, curve=label)) for result in results.cells]
    text = as_html(replace(results, cells=cells), ["- <b>"], [], tmp_path).replace(plotly(), "")
    assert "alert(1)" in text
    assert text.count("<script") == text.count("</script") == 3  # data, plotting library, ours
    assert "<li>&lt;b&gt;</li>" in text


def test_a_disagreement_is_printed(run):
    results, _ = run
    broken = replace(results, audits=[Audit("fd[tiny] static-w4.0", 1.0, 1.1, 1.0)])
    assert "DISAGREEMENT" in as_markdown(broken)
    assert "torchmetrics 1.1" in as_markdown(broken)
    assert "| fd[tiny] static-w4.0 | 1 | 1.1 | 1 | 1.0e-01 |" in as_markdown(broken)


def test_tensorboard_has_the_weight_as_step_and_one_hparams_run_for_each_cell(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    results, out = run
    log = EventAccumulator(str(out / "tensorboard/static"), size_guidance={"scalars": 0, "images": 0})
    log.Reload()
    events = log.Scalars("align/tiny")
    assert [event.step for event in events] == [100, 150, 400]
    expected = [result.metrics["align[tiny]"] for result in results.curve("static")]
    assert [event.value for event in events] == pytest.approx(expected, rel=1e-6)
    assert len(log.Tags()["images"]) == 3
    runs = {path.name for path in (out / "tensorboard").iterdir()}
    assert runs == {"dynamic", "static"} | {run_name(result) for result in results.cells}


@pytest.mark.parametrize(
    ("weights", "steps"),
    [
        ([1, 1.5, 3], [100, 150, 300]),
        ([0, 1.25, 10], [0, 125, 1000]),
        ([1, 3, 3.004], [1000, 3000, 3004]),
        ([1, 1.000001], [1_000_000, 1_000_001]),
        ([3, 3 + 1e-12], [0, 1]),
        ([1, 1e30], [0, 1]),
        ([5e-324, 1, 1e30], [0, 1, 2]),
        ([9.1e13], [0]),
    ],
)
def test_every_weight_has_a_step_of_its_own(weights, steps):
    assert steps_of([float(weight) for weight in weights]) == dict(zip(weights, steps, strict=True))


@pytest.mark.parametrize("chosen", [(0.0, 3.0, LARGEST_WEIGHT), (5e-324, 1.0, LARGEST_WEIGHT), (3.0, 3.0000001, 9e15)])
def test_a_report_takes_any_weights_that_a_sweep_takes(run, tmp_path, chosen):
    """All that is made after the sampling, with weights that are close, huge and zero."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    results, _ = run
    weights = dict(zip(WEIGHTS, chosen, strict=True))
    cells = [
        replace(result, cell=replace(result.cell, guidance_weight=weights[result.cell.guidance_weight]))
        for result in results.cells
    ]
    pictures = {new.cell.name: results.pictures[old.cell.name] for old, new in zip(results.cells, cells, strict=True)}
    write_report(replace(results, cells=cells, pictures=pictures), tmp_path)
    log = EventAccumulator(str(tmp_path / "tensorboard/static"), size_guidance={"scalars": 0})
    log.Reload()
    assert [event.step for event in log.Scalars("align/tiny")] == [0, 1, 2]


def test_tensorboard_draws_each_number_with_its_interval_and_puts_the_pareto_pair_first(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.custom_scalar import layout_pb2
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    results, out = run
    log = EventAccumulator(str(out / "tensorboard/dynamic"), size_guidance={"scalars": 0, "tensors": 0})
    log.Reload()
    (layout,) = log.Tensors("custom_scalars__config__")
    charts = {
        chart.title: chart.margin.series[0]
        for category in layout_pb2.Layout.FromString(layout.tensor_proto.string_val[0]).category
        for chart in category.chart
    }
    assert charts.keys() == {name for result in results.cells for name in result.intervals}
    for name, series in charts.items():
        low, value, high = ([e.value for e in log.Scalars(tag)] for tag in (series.lower, series.value, series.upper))
        assert all(a <= b <= c for a, b, c in zip(low, value, high, strict=True)), name
    cell = EventAccumulator(str(out / "tensorboard" / run_name(results.cells[0])))
    cell.Reload()
    content = cell.summary_metadata["_hparams_/experiment"].plugin_data.content
    metrics = [info.name.tag for info in HParamsPluginData.FromString(content).experiment.metric_infos]
    assert metrics[:3] == ["align/tiny", "fd/tiny", "checker/all"]
    assert [event.step for event in cell.Scalars("fd/tiny")] == [100]


def test_a_point_is_dominated_by_one_that_is_nowhere_worse():
    """(alignment, distance): higher and lower are better."""
    assert dominated([(0.8, 5.0), (0.9, 5.0), (0.9, 4.0), (0.7, 3.0), (0.7, 3.0)]) == [True, True, False, False, False]


def test_a_difference_of_rounding_errors_is_printed_as_zero():
    assert change_text(Interval(-1.5e-17, -0.014, 0.014, "jackknife")) == "+0 [-0.014, +0.014]"
    assert change_text(Interval(-0.2, -0.3, -0.1, "jackknife")) == "**-0.2 [-0.3, -0.1]**"
