"""The metrics of the results. A key is only a name for people and files; no code parses it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from imagen.checks.foreign import checked_record
from imagen.errors import UserError
from imagen.evaluation.judges.names import NAMED_BY_HASH, PUBLISHED, looks_published

ALIGNMENT, FRECHET, CHECKER = "alignment", "fd", "checker"
FRECHET_INF, KID, CMMD, PRECISION, RECALL = "fd_inf", "kid", "cmmd", "precision", "recall"
MIND, DIVERSITY = "mind", "diversity"
VQA, SOFT_TIFA_AM, SOFT_TIFA_GM = "vqa", "soft_tifa_am", "soft_tifa_gm"
ANSWERED = frozenset({VQA, SOFT_TIFA_AM, SOFT_TIFA_GM})
"""Of judges that answer questions about a picture. No such number has a published name."""
FITTING = (ALIGNMENT, VQA)
"""How well a picture fits its caption: what is plotted against a distance."""
RETRIEVAL = {1: "retrieval1", 5: "retrieval5"}
"""By k, the share of pictures whose own caption is among the k that fit best, R@k."""

LOWER_IS_BETTER = frozenset({FRECHET, FRECHET_INF, KID, CMMD, MIND})
BARE = frozenset({FRECHET_INF, KID, MIND, PRECISION, RECALL, DIVERSITY})
"""Bare keys name metrics of the published Inception."""
EVALUATE_AGAIN = "evaluate again with this version"


def checker_key(part: str) -> str:
    """The key of a rate of the checker: of `all` parts of the caption, one part, a category, or `abstained`."""
    return f"{CHECKER}[{part}]"


CHECKED_ALL = checker_key("all")
ABSTAINED = checker_key("abstained")


@dataclass(frozen=True)
class Metric:
    """`key` names the number in results.json, tables and plots; `judge` is the name of the judge that measured it, None
    for the checker; `axis` is one of this module's constants: Pareto plots show FRECHET against FITTING."""

    key: str
    judge: str | None
    axis: str
    lower_is_better: bool

    @classmethod
    def of_judge(cls, key: str, judge: str, axis: str) -> "Metric":
        return cls(key, judge, axis, axis in LOWER_IS_BETTER)

    @classmethod
    def of_checker(cls, key: str) -> "Metric":
        """A rate of the checker: the share of pictures in which a part holds, or in which it abstained."""
        return cls(key, None, CHECKER, key == ABSTAINED)


def pareto_pairs(metrics: Iterable[Metric]) -> list[tuple[str, str]]:
    """The keys (alignment, Fréchet distance) of each judge with a distance. A judge that cannot read captions is paired
    with the first that can. Then each VQAScore with the distances of judges that cannot read captions, such as
    FD-DINOv2, or with all distances where every judge can. Empty if nothing tells how well a picture fits."""
    metrics = list(metrics)
    alignments = {metric.judge: metric.key for metric in metrics if metric.axis == ALIGNMENT}
    distances = [metric for metric in metrics if metric.axis == FRECHET]
    first = next(iter(alignments.values()), None)
    pairs = [(alignments.get(metric.judge, first), metric.key) for metric in distances] if first else []
    apart = [metric for metric in distances if metric.judge not in alignments] or distances
    answered = [metric.key for metric in metrics if metric.axis == VQA]
    return pairs + [(key, metric.key) for key in answered for metric in apart]


def read_metrics(results: Mapping[str, Any], where: str) -> dict[str, Metric]:
    """The metrics of a results.json by key.

    The file may come from somebody else. So a published name is accepted only if the judge's identity shows that it was
    loaded from the published files, and a judge's own name must not look like a published one.

    Raises:
        UserError: for an entry that is not a metric, a name that is not allowed, or a number without an entry.
    """
    judges = results.get("judges")
    metrics = {}
    for entry in results["metrics"] if isinstance(results.get("metrics"), list) else []:
        metric = checked_record(Metric, entry, f"{where}: metrics", EVALUATE_AGAIN)
        if not _is_honest(metric, judges.get(metric.judge) if isinstance(judges, dict) else None):
            raise UserError(
                f"{where}: {metric.key!r:.120} of the judge {metric.judge!r:.120} could be taken for a published "
                f"number, which it is not; {EVALUATE_AGAIN}"
            )
        metrics[metric.key] = metric
    for cell in results["cells"]:
        for key in cell["metrics"]:
            if key not in metrics:
                raise UserError(f"{where}: metrics does not say what {key!r:.120} is; {EVALUATE_AGAIN}")
    return metrics


def _is_honest(metric: Metric, identity: object) -> bool:
    """Whether the number is named after its judge, or the judge's `identity` is that of the published one."""
    if metric.judge is None:
        return metric.axis == CHECKER and not looks_published(metric.key)
    files = identity.get("files") if isinstance(identity, dict) else None
    if metric.axis not in ANSWERED and files in PUBLISHED.get(metric.judge, []):
        return True
    if looks_published(metric.judge) and not NAMED_BY_HASH.search(metric.judge):
        return False
    named_after = f"{'align' if metric.axis == ALIGNMENT else metric.axis}[{metric.judge}]"
    return metric.key == named_after or not (metric.key in BARE or looks_published(metric.key))
