"""Curves compared where they are equally aligned, with intervals that carry the interpolation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from imagen.errors import UserError
from imagen.evaluation.judges.metric import CHECKED_ALL, Metric
from imagen.evaluation.report.equal_alignment import equal_alignment_finding, equal_alignment_tables
from imagen.evaluation.results.equal_alignment import at_equal_alignment, compared_pairs
from imagen.evaluation.statistics.equal_alignment import Point, crossing, rising, separated
from imagen.evaluation.statistics.jackknife import Jackknife, jackknife_mean


def exact(value, groups=20):
    """A number that does not vary."""
    return Jackknife(value, torch.full((groups,), value, dtype=torch.float64), torch.ones(groups, dtype=torch.float64))


def points(*numbers):
    return [Point(float(weight), exact(alignment), exact(number)) for weight, alignment, number in numbers]


LINE = points((1, 0.2, 10.0), (2, 0.4, 20.0), (4, 0.6, 24.0), (8, 0.5, 90.0))


@pytest.mark.parametrize(
    ("alignment", "weight", "number"),
    [(0.2, 1, 10.0), (0.3, 1.5, 15.0), (0.4, 2, 20.0), (0.55, 3.5, 23.0), (0.6, 4, 24.0)],
)
def test_a_number_is_read_off_the_line_between_two_points(alignment, weight, number):
    found = crossing(LINE, exact(alignment))
    assert found is not None
    assert (found.weight, found.number.value) == pytest.approx((weight, number))


@pytest.mark.parametrize("alignment", [0.19, 0.61])
def test_an_alignment_that_the_curve_never_has_is_not_extrapolated(alignment):
    assert crossing(LINE, exact(alignment)) is None


def uncertain(value, error):
    """A number with an interval of about ± 2.6 `error`."""
    without = value + error * torch.linspace(-1, 1, 20, dtype=torch.float64) / 2
    return Jackknife(value, without, torch.ones(20, dtype=torch.float64))


def test_a_segment_whose_rise_may_be_zero_has_a_place_but_no_number():
    flat = [Point(1.0, exact(0.2), exact(10.0)), Point(2.0, uncertain(0.4, 0.01), exact(20.0))]
    flat.append(Point(4.0, uncertain(0.41, 0.03), exact(40.0)))
    assert [point.weight for point in separated(flat)] == [1.0, 2.0]
    low, high = (crossing(flat, exact(alignment)) for alignment in (0.3, 0.405))
    assert low.number.value == pytest.approx(15.0)
    assert high.number is None
    assert high.weight == pytest.approx(3.0)


def test_a_point_in_a_replicate_of_equal_rates_gives_no_infinite_interval():
    """Rates of the checker without one group may be equal at two weights, where a plain ratio would be infinite."""
    same, more = torch.zeros(40, dtype=torch.float64), torch.zeros(40, dtype=torch.float64)
    same[:20], more[:20], more[20] = 1.0, 1.0, 1.0  # one more picture is right, so without its group none is
    points = [Point(w, jackknife_mean(x), jackknife_mean(x)) for w, x in ((1.0, same), (2.0, more))]
    found = crossing(points, points[1].alignment)
    assert found is not None
    assert found.number is None


def test_a_curve_counts_up_to_its_highest_alignment():
    assert [point.weight for point in rising(LINE)] == [1, 2, 4]
    assert [point.weight for point in rising(LINE[:1])] == [1]


def test_groups_that_differ_are_refused():
    with pytest.raises(UserError, match="no paired difference of groups of 10 and 20 pictures"):
        crossing(LINE, exact(0.3, groups=10))


def drawn(rng, count, noise, alignments, numbers):
    """Points whose alignments and numbers are means over pictures with a common part, as on the same noise."""
    common = rng.normal(size=count)
    found = []
    for alignment, number in zip(alignments, numbers, strict=True):
        values = alignment + noise * (common + rng.normal(size=count))
        others = number + 10 * noise * (common + rng.normal(size=count))
        found.append(Point(alignment, *(jackknife_mean(torch.from_numpy(x)) for x in (values, others))))
    return found


def test_the_interval_of_an_interpolated_difference_covers_the_truth():
    """Both alignments and numbers vary: of 95 % intervals, 200 cover between 91 % and 99 %."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        one = drawn(rng, 400, 0.3, [0.2, 0.5, 0.8], [10.0, 14.0, 20.0])
        other = drawn(rng, 400, 0.3, [0.2, 0.4, 0.9], [10.0, 12.0, 27.0])
        found = crossing(
            other, one[1].alignment
        )  # at an alignment of 0.5 the other's number is 12 + 0.1 / 0.5 · 15 = 15
        hits += found is not None and (lambda i: i.low <= 1.0 <= i.high)((found.number - one[1].number).interval)
    assert 182 <= hits <= 198


METRICS = {
    metric.key: metric
    for metric in (
        Metric.of_judge("align[a]", "a", "alignment"),
        Metric.of_judge("fd[a]", "a", "fd"),
        Metric.of_checker(CHECKED_ALL),
    )
}


def cells(**curves):
    return [
        (label, float(weight), {"align[a]": exact(alignment), "fd[a]": exact(number), CHECKED_ALL: exact(alignment)})
        for label, rows in curves.items()
        for weight, alignment, number in rows
    ]


def test_curves_are_compared_with_the_first_one_at_its_points():
    assert compared_pairs(METRICS) == [("align[a]", "fd[a]"), (CHECKED_ALL, "fd[a]")]
    found = at_equal_alignment(
        cells(
            first=[(1, 0.2, 10.0), (2, 0.4, 20.0), (4, 0.6, 24.0), (8, 0.5, 90.0)],
            low=[(1, 0.2, 10.0), (6, 0.45, 35.0)],
            single=[(1, 0.2, 10.0)],
        ),
        [("align[a]", "fd[a]")],
    )
    assert [(one.curve, one.base_weight, one.weight) for one in found] == [
        ("low", 2, pytest.approx(5)),
        ("low", 4, None),
    ]
    assert found[0].difference.estimate == pytest.approx(10.0)  # 30 where it has an alignment of 0.4, minus 20
    assert found[1].difference is None
    assert (found[0].at, found[0].base) == (0.4, "first")


def test_order_of_cells_does_not_matter_but_the_first_curve_does():
    rows = {"first": [(1, 0.2, 10.0), (2, 0.4, 20.0)], "other": [(1, 0.2, 10.0), (2, 0.6, 20.0)]}
    one = at_equal_alignment(cells(**rows), [("align[a]", "fd[a]")])
    assert one == at_equal_alignment(
        cells(first=rows["first"][::-1], other=rows["other"][::-1]), [("align[a]", "fd[a]")]
    )
    assert one[0].difference.estimate == pytest.approx(-5.0)


def test_numbers_without_intervals_are_not_compared():
    few = [(curve, weight, {"align[a]": found["align[a]"]}) for curve, weight, found in cells(
        first=[(1, 0.2, 1.0), (2, 0.4, 2.0)], other=[(1, 0.2, 1.0), (2, 0.4, 2.0)]
    )]  # fmt: skip
    assert at_equal_alignment(few, [("align[a]", "fd[a]")]) == []


def results_of(rows):
    return at_equal_alignment(rows, [("align[a]", "fd[a]")])


def test_the_report_has_a_table_for_each_pair(run):
    results, out = run
    assert results.equal_alignment == []  # twelve pictures are too few for the interval of a Fréchet distance
    assert "equal alignment" not in (out / "report.md").read_text()
    rows = cells(dynamic=[(1, 0.2, 10.0), (2, 0.4, 20.0), (3, 0.6, 30.0)], static=[(1, 0.2, 10.0), (2, 0.5, 20.0)])
    told = replace(results)
    told.__dict__["equal_alignment"] = results_of(rows)
    (table,) = equal_alignment_tables(told)
    assert table[0] == ["fd[a] at equal align[a]", "w = 2", "w = 3"]
    assert equal_alignment_finding(told) == (
        "**At equal alignment** with dynamic, `fd[a]` (equal `align[a]`) is smaller for static (w 2). Nothing else is "
        "told apart. Of 1 differences about 0.1 would be told apart if all were zero."
    )
    told.__dict__["equal_alignment"] = [replace(one, difference=None) for one in results_of(rows)]
    assert (
        equal_alignment_finding(told) == "**At equal alignment** no curve is told apart from dynamic (0 differences)."
    )
    assert equal_alignment_finding(results) == ""
    assert table[1] == ["static", "**-3.33 [-3.3, -3.3]** (w 1.67)", "never so aligned"]
