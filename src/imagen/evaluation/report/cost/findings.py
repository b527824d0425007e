"""The cheapest curve that cannot be told apart from the best, in a sentence."""

from imagen.evaluation.judges.metric import FITTING, FRECHET, Metric
from imagen.evaluation.report.best import best_of, judged
from imagen.evaluation.report.cost.numbers import machine_text
from imagen.evaluation.results.cost import NOTICEABLE, PASSES, SECONDS, Measure
from imagen.evaluation.results.results import CellResult, Results


def cost_finding(results: Results) -> str:
    """By each alignment and distance, the cheapest curve whose best is not told apart from the best of all; empty where
    curves do not differ in cost, or nothing can be told apart for want of paired intervals."""
    measure = results.compared_by
    if measure is None:
        return ""
    chosen = [metric for metric in judged(results.metrics.values()) if metric.axis in (*FITTING, FRECHET)]
    clauses = [clause for metric in chosen if (clause := _clause(metric, results, measure))]
    if not clauses:
        return ""
    where = f" on {machine_text(results.cells[0].cost)}" if measure is SECONDS else ""
    return f"**Cost** ({measure.name}{where}): {'; '.join(clauses)}."


def _clause(metric: Metric, results: Results, measure: Measure) -> str:
    best = best_of(results.cells, metric)
    own = [of_curve.result for label in results.curves if (of_curve := best_of(results.curve(label), metric))]
    if best is None or any(one.cell in best.unpaired for one in own):
        return ""

    def cost(one: CellResult) -> float:
        return float(measure.of(one.cost) or 0)

    cheaper = [one for one in own if cost(one) * NOTICEABLE <= cost(best.result)]
    alike = [one for one in cheaper if one.cell in best.alike]
    by, against = f"by `{metric.key}`", f"the best, {_place(best.result)} ({_amount(best.result, measure)})"
    if not cheaper:
        return f"{by} no curve costs noticeably less than {against}"
    if not alike:
        return f"{by} every curve that costs noticeably less is told apart from {against}"
    chosen = min(alike, key=cost)
    return f"{by} the cheapest curve not told apart from {against}, is {_place(chosen)} ({_amount(chosen, measure)})"


def _place(one: CellResult) -> str:
    return f"{one.cell.curve} at w = {one.cell.guidance_weight:g}"


def _amount(one: CellResult, measure: Measure) -> str:
    """As in "0.12 s, 29 passes"."""
    measures = [measure] if measure is PASSES or one.cost.all_passes is None else [measure, PASSES]
    return ", ".join(f"{each.of(one.cost):.3g} {each.unit}" for each in measures)
