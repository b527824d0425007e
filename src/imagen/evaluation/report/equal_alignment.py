"""Curves at equal alignment: a sentence, and a table for each pair of numbers."""

from collections.abc import Sequence

from imagen.evaluation.report.tables import Rows, change_text
from imagen.evaluation.results.equal_alignment import EqualAlignment
from imagen.evaluation.results.results import Results
from imagen.evaluation.statistics.jackknife import LEVEL

EQUAL_ALIGNMENT = "At equal alignment"


def equal_alignment_finding(results: Results) -> str:
    """What the tables say, in a sentence or two; empty where nothing is compared."""
    compared = results.equal_alignment
    if not compared:
        return ""
    pairs = dict.fromkeys((one.alignment, one.metric) for one in compared)
    found = [text for pair in pairs if (text := _told_apart([o for o in compared if (o.alignment, o.metric) == pair]))]
    count = sum(one.difference is not None for one in compared)
    if not found:
        return f"**{EQUAL_ALIGNMENT}** no curve is told apart from {results.curves[0]} ({count} differences)."
    return (
        f"**{EQUAL_ALIGNMENT}** with {results.curves[0]}, {'; '.join(found)}. Nothing else is told apart. Of {count} "
        f"differences about {round((1 - LEVEL) * count, 1):g} would be told apart if all were zero."
    )


def _told_apart(compared: Sequence[EqualAlignment]) -> str:
    """Which curves have a smaller distance than the first one, which a larger, and at which of its weights; empty if
    none has."""
    separated = [one for one in compared if one.difference is not None and one.difference.excludes_zero]
    better = [one for one in separated if one.difference is not None and one.difference.high < 0]
    worse = [one for one in separated if one not in better]
    clauses = [f"{what} for {_places(ones)}" for what, ones in (("smaller", better), ("larger", worse)) if ones]
    where = f"`{compared[0].metric}` (equal `{compared[0].alignment}`)"
    return f"{where} is {' and '.join(clauses)}" if clauses else ""


def _places(ones: Sequence[EqualAlignment]) -> str:
    curves = dict.fromkeys(one.curve for one in ones)
    where = {curve: "/".join(f"{one.base_weight:g}" for one in ones if one.curve == curve) for curve in curves}
    return ", ".join(f"{curve} (w {weights})" for curve, weights in where.items())


def equal_alignment_about(results: Results) -> str:
    """What the tables of `equal_alignment_tables` hold."""
    first = results.curves[0]
    return (
        f"Each curve where it has the alignment that {first} has at w, in brackets its own weight there: its number "
        f"minus that of {first}, paired, with intervals that carry the interpolation; bold where zero is excluded. The "
        "weights of different rules cannot be compared, and so are not."
    )


def equal_alignment_tables(results: Results) -> list[Rows]:
    """For each pair of numbers the curves down, the weights of the first curve across; none for a single curve."""
    tables = []
    for pair in dict.fromkeys((one.alignment, one.metric) for one in results.equal_alignment):
        compared = [one for one in results.equal_alignment if (one.alignment, one.metric) == pair]
        weights = list(dict.fromkeys(one.base_weight for one in compared))
        rows = [[f"{pair[1]} at equal {pair[0]}", *(f"w = {weight:g}" for weight in weights)]]
        for curve in dict.fromkeys(one.curve for one in compared):
            rows.append([curve, *(_at_equal_alignment(one) for one in compared if one.curve == curve)])
        tables.append(rows)
    return tables


def _at_equal_alignment(one: EqualAlignment) -> str:
    if one.weight is None:
        return "never so aligned"
    if one.difference is None:
        return f"too flat to say (w {one.weight:.3g})"
    return f"{change_text(one.difference)} (w {one.weight:.3g})"
