"""The scores of raters as Markdown, with remarks on raters and intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from imagen.evaluation.rating.answers import Rater
from imagen.evaluation.rating.questions import CAPTION, QUESTIONS
from imagen.evaluation.rating.scores import Score

MEANS = "mean score, yes 100, somewhat 50, no 0"
RATE = "preferred, % of the answers"


def as_markdown(scores: Sequence[Score], remarks: Sequence[str]) -> str:
    """A table for each question; categories follow the row of all prompts."""
    lines = ["# Human ratings", "", *(f"- {remark}" for remark in remarks)]
    for name in dict.fromkeys(one.question for one in scores):
        unit = MEANS if name == CAPTION.name else RATE
        lines += [
            "",
            f"## {QUESTIONS[name].text}",
            "",
            f"| prompts | pictures | {unit} | answers |",
            "|:--|:--|--:|--:|",
        ]
        for one in (one for one in scores if one.question == name):
            value = f"{one.value:.1f} [{one.low:.1f}, {one.high:.1f}]"
            lines.append(f"| {one.category or 'all'} | {one.subject} | {value} | {one.answers} |")
    return "\n".join([*lines, ""])


def remarks(raters: Sequence[Rater], items: Sequence[Mapping[str, Any]]) -> list[str]:
    """The number of raters, the excluded raters, the missing answers, and the kind of intervals."""
    out = [rater.name for rater in raters if not rater.passes(items)]
    lines = [f"{len(raters) - len(out)} raters, {len(items)} questions"]
    if out:
        lines.append(f"excluded, more than a fifth of the checks wrong: {', '.join(out)}")
    if missing := {rater.name: rater.missing() for rater in raters if rater.missing()}:
        whose = ", ".join(f"{name} {count}" for name, count in missing.items())
        lines.append(f"{sum(missing.values())} of {len(raters) * len(items)} answers are missing ({whose})")
    over = "raters and prompts" if len(raters) - len(out) > 1 else "prompts only, of one rater"
    return [*lines, f"95 % intervals by bootstrap over {over}"] if len(raters) > len(out) else lines
