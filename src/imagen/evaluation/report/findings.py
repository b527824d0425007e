"""What was found, in sentences written from the numbers; they claim no more than the intervals say."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from imagen.evaluation.judges.metric import Metric, pareto_pairs
from imagen.evaluation.report.best import BEST_OF, Best, best_of, judged, kind_of, paired
from imagen.evaluation.report.cost.findings import cost_finding
from imagen.evaluation.report.equal_alignment import equal_alignment_finding
from imagen.evaluation.report.tables import Rows, change_text
from imagen.evaluation.results.results import CellResult, Results
from imagen.evaluation.statistics.jackknife import LEVEL, Interval
from imagen.evaluation.sweep.plan import Cell

NAMED_CURVES = 3
"""Of more curves a sentence names no points: nobody would read them, and the plot and tables show them."""

LEVEL_TEXT = f"{LEVEL * 100:g} %"


def findings(results: Results) -> list[str]:
    """A summary in one sentence; one sentence each about alignment, distances, the checker's answers, what they trade
    and what they cost, as far as there are numbers; and a note of how sure this is. Text between double asterisks is
    bold, between backticks code."""
    bests = [one for metric in judged(results.metrics.values()) if (one := best_of(results.cells, metric))]
    if not bests:
        return []
    lines = [_summary(bests, results)]
    for kind, group in groupby(bests, key=lambda one: kind_of(one.metric)):
        what, is_best = BEST_OF[kind]
        places = [
            f"at {_place(cell, results)}: " + "; ".join(_best_number(one, results) for one in same)
            for cell, same in groupby(group, key=lambda one: one.result.cell)
        ]
        lines.append(f"**{what}** {is_best} {'; '.join(places)}.")
    lines += [trade] if (trade := _trade(results)) else []
    lines += [equal] if (equal := equal_alignment_finding(results)) else []
    lines += [cost] if (cost := cost_finding(results)) else []
    others = max((one.others for one in bests), default=0)
    if any(one.separated or one.alike for one in bests):
        compared = "the one other point" if others == 1 else f"the {others} others"
        lines.append(
            f"**How sure**: for each number the best point was compared with {compared}, pair by pair on the same "
            f"prompts and noise. Intervals are {LEVEL_TEXT}, of sampling only. Those of these comparisons are widened "
            f"for their number: the truly best point is among those not told apart in {LEVEL_TEXT} of all samples. "
            "What has no interval is not told apart. The best of several looks a little better than it is, and another "
            "training moves a number further."
        )
    return lines


def best_weights_table(results: Results) -> Rows:
    """The best weight of each curve by each judge and the checker, and how it stands to the curve's other weights."""
    rows = [["best of each curve by", "curve", "w", "value", "separated from w", "not told apart from w"]]
    for metric in judged(results.metrics.values()):
        for label in results.curves:
            best = best_of(results.curve(label), metric)
            if best is None:
                continue
            all_weights = _weights_of(results, label)
            own = best.result.cell.guidance_weight
            separated, alike = (
                spans([cell.guidance_weight for cell in cells], all_weights, bridge)
                for cells, bridge in ((best.separated, None), (best.alike, own))
            )
            without = missing(metric, best.result, results.facts) if metric.key not in best.result.intervals else ""
            rows.append([metric.key, label, f"{own:g}", number_text(best.result, metric), separated, alike or without])
    return rows


def number_text(result: CellResult, metric: Metric) -> str:
    """The number with its interval. The interval of a distance belongs to the value corrected for bias, which is said
    where that is another number."""
    value = f"{result.metrics[metric.key]:.4g}"
    interval = result.intervals.get(metric.key)
    if interval is None:
        return value
    corrected, limits = f"{interval.estimate:.4g}", f"[{interval.low:.3g}, {interval.high:.3g}]"
    return f"{value} {limits}" if corrected == value else f"{value}, corrected for bias {corrected} {limits}"


def missing(metric: Metric, result: CellResult, facts: Mapping[str, object]) -> str:
    """Why the number has no interval."""
    needed = facts.get("pictures_for_interval")
    least = needed.get(metric.key) if isinstance(needed, Mapping) else None
    least = least if isinstance(least, int) else 2
    return f"no interval below {least} pictures, here {result.count}" if result.count < least else "no interval"


def interval_text(change: Interval) -> str:
    """A difference with its interval."""
    return change_text(change).strip("*")


def listed(parts: Sequence[str]) -> str:
    """Parts of a sentence.

    Examples:
        >>> listed(["1", "2", "3"]), listed(["1"])
        ('1, 2 and 3', '1')
    """
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def spans(chosen: Sequence[float], every: Sequence[float], bridge: float | None = None) -> str:
    """The chosen ones of `every` weight; three or more next to each other as a span. `bridge` may lie within a span
    without being chosen.

    Examples:
        >>> spans([1, 2, 3, 8], [1, 2, 3, 5, 8]), spans([1, 3], [1, 2, 3], bridge=2)
        ('1 to 3 and 8', '1 to 3')
    """
    runs: list[list[float]] = [[]]
    for weight in sorted(every):
        if weight in chosen or (weight == bridge and runs[-1]):
            runs[-1].append(weight)
        else:
            runs.append([])
    parts = []
    for run in runs:
        run = run[:-1] if run and run[-1] == bridge else run
        ends = [run[0], run[-1]] if len(run) > 2 else []
        parts += [f"{ends[0]:g} to {ends[1]:g}"] if ends else [f"{weight:g}" for weight in run if weight != bridge]
    return listed(parts) if parts else ""


def named(cells: Sequence[Cell], every: Mapping[str, Sequence[float]], bridge: Cell | None = None) -> str:
    """The cells, curve by curve; only their number where they are of many curves. `every`: all weights of each curve;
    `bridge`: see `spans`."""
    curves = {cell.curve for cell in cells}
    if len(curves) > NAMED_CURVES:
        return f"{len(cells)} points of {len(curves)} curves"
    texts = []
    for label, of_curve in groupby(cells, key=lambda cell: cell.curve):
        between = bridge.guidance_weight if bridge and label == bridge.curve else None
        where = f" of {label}" if len(every) > 1 else ""
        texts.append(f"w = {spans([cell.guidance_weight for cell in of_curve], every[label], between)}{where}")
    return listed(texts)


def _summary(bests: Sequence[Best], results: Results) -> str:
    """Where the bests are, and how many points may be as good."""
    clauses = []
    for kind, group in groupby(bests, key=lambda one: kind_of(one.metric)):
        what, is_best = BEST_OF[kind]
        places = dict.fromkeys(_place(one.result.cell, results) for one in group)
        within = what if what[:2].isupper() else f"{what[0].lower()}{what[1:]}"  # VQAScore
        clauses.append(f"{within} {is_best} at {' or '.join(places)}")
    text = f"With {results.facts['pictures_per_cell']} pictures for each point, {listed(clauses)}"
    others = max(one.others for one in bests)
    if not others:
        return f"{text}."
    open_ones = sorted({len(one.alike) + len(one.unpaired) for one in bests})
    if open_ones == [0]:
        return f"{text}. Every other point is separated from these."
    if others == 1:
        return f"{text}. The other point is not separated from all of these."
    number = f"{open_ones[0]}" if len(open_ones) == 1 else f"{open_ones[0]} to {open_ones[-1]}"
    return f"{text}. Of {others} other points, {number} cannot be told apart from these."


def _best_number(best: Best, results: Results) -> str:
    relation = _relation(best, results)
    return f"`{best.metric.key}` {number_text(best.result, best.metric)}" + (f" ({relation})" if relation else "")


def _relation(best: Best, results: Results) -> str:
    """How the best stands to the others."""
    if best.metric.key not in best.result.intervals:
        return missing(best.metric, best.result, results.facts)
    separated, alike = len(best.separated), len(best.alike)
    compared = separated + alike
    clauses = []
    if compared and not alike:
        clauses.append("separated from every other point" if compared > 1 else "separated from the other point")
    elif compared and not separated:
        clauses.append("not told apart from any other point" if compared > 1 else "not told apart from the other point")
    elif compared:
        clauses.append(
            f"separated from {separated} of the {compared} others, not told apart from {_alike(best, results)}"
        )
    if best.unpaired:
        clauses.append(f"not compared with {len(best.unpaired)}, for want of paired intervals")
    return ", ".join(clauses)


def _alike(best: Best, results: Results) -> str:
    return named(best.alike, {label: _weights_of(results, label) for label in results.curves}, best.result.cell)


def _weights_of(results: Results, label: str) -> list[float]:
    return [one.cell.guidance_weight for one in results.curve(label)]


def _place(cell: Cell, results: Results) -> str:
    return f"w = {cell.guidance_weight:g}" + (f" of {cell.curve}" if len(results.curves) > 1 else "")


def _trade(results: Results) -> str:
    """Whether a point may be best by alignment and by distance, for each judge."""
    clauses = []
    for alignment, distance in pareto_pairs(results.metrics.values()):
        across, up = results.metrics[alignment], results.metrics[distance]
        both = [one for one in results.cells if {alignment, distance} <= one.metrics.keys()]
        faithful, aligned = best_of(both, up), best_of(both, across)
        if faithful and aligned and len(both) > 1:
            clauses.append(_trade_clause(faithful, aligned, results))
    return f"**Trade-off**: {'; '.join(clauses)}." if clauses else ""


def _trade_clause(faithful: Best, aligned: Best, results: Results) -> str:
    """From the best distance to the best alignment."""
    start, end, across, up = faithful.result, aligned.result, aligned.metric, faithful.metric
    names = f"`{across.key}` and `{up.key}`"
    if start is end:
        return f"not shown by {names}, both best at {_place(start.cell, results)}"
    changes = " and ".join(_change(start, end, metric) for metric in (across, up))
    path = f"from {_place(start.cell, results)} to {_place(end.cell, results)} they change by {changes}"
    if not (faithful.separated or faithful.alike) or not (aligned.separated or aligned.alike):
        return f"not shown by {names}, for want of paired intervals ({path})"
    either = [one.cell for one in results.cells if one.cell in aligned.candidates and one.cell in faithful.candidates]
    if either:
        every = {label: _weights_of(results, label) for label in results.curves}
        return f"not shown by {names}, because {named(either, every)} may be best by both ({path})"
    return f"alignment is bought with distance, because no point may be best by both {names} ({path})"


def _change(start: CellResult, end: CellResult, metric: Metric) -> str:
    change = paired(start, end, metric.key)
    if change is not None:
        return interval_text(change)
    return f"{end.metrics[metric.key] - start.metrics[metric.key]:+.3g} without an interval"
