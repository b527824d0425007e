"""Which configuration a run may resume under: one of the same numbers, except for the keys in `may_change`."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagen.commandline.config_errors import keys_of, nearest_key
from imagen.errors import UserError

KEPT = ("stage", "text", "resolutions", "data", "seed", "init_from", "trainer", "compile")
"""The sections that affect the numbers of a training; the others (paths, callbacks, logger, name) do not."""

FREE_WITHIN_KEPT = (
    "data.text",  # a copy of `text`, which is compared by itself
    "data.num_workers",
    "data.prefetch_factor",
    "data.ahead",
    "data.bad_pictures.lists",
    "data.bad_pictures.check_first",
    "data.bad_pictures.max_share",  # affects only whether the run stops, not its numbers
    "data.train.index",
    "data.train.embeddings",  # a copy of text.mode
    "data.train.cache",
    "data.train.cache_bytes",
    "data.train.source.index",
    "data.train.source.embeddings",  # a copy of text.mode
    "data.train.source.cache",
    "data.train.source.cache_bytes",
    "data.train.source.download",
    "data.validation.index",
    "data.validation.embeddings",  # a copy of text.mode
    "data.validation.cache",
    "data.validation.cache_bytes",
    "data.validation.source.index",
    "data.validation.source.embeddings",  # a copy of text.mode
    "data.validation.source.cache",
    "data.validation.source.cache_bytes",
    "data.validation.source.download",
    "text.encoder.path",  # the fingerprints of the cache and of the export tell which encoder must be there
    "text.encoder.local_files_only",
    "text.folder",
    "text.processes",
    "stage.lr_schedule.total_steps",  # follows trainer.max_steps: a longer run is meant to have another rate
    "stage.max_skipped_steps",
    "trainer.max_steps",
    "trainer.min_steps",
    "trainer.max_time",
    "trainer.log_every_n_steps",
    "trainer.val_check_interval",
    "trainer.limit_val_batches",
    "trainer.num_sanity_val_steps",
    "trainer.detect_anomaly",
    "trainer.profiler",
    "trainer.plugins",  # only how processes find each other: conf/trainer/slurm.yaml
    "trainer.strategy",  # only where the weights lie, and in which order gradients are added up
)
"""Keys of these sections that may change all the same: they affect no step, or the change is intended."""

SHARED_OUT = ("trainer.devices", "trainer.num_nodes", "trainer.accumulate_grad_batches")
"""Keys that may change together: if their product is the same, the same batches make an optimizer step."""

FIXED = ("stage.optimizer._target_", "stage.optimizer.min_side")
"""Keys that `may_change` cannot free: the saved state does not fit another optimizer."""

IGNORED = {"_convert_"}
"""Keys that older configurations have at any depth and that decide nothing: how Hydra was to hand over lists."""

ABSENT: Mapping[str, Any] = {
    "trainer.num_nodes": 1,
    "trainer.matmul_precision": "high",
    "data.geometry.bucket_steps": 8,
}
"""Values of keys that older configurations lack; any other key that is missing counts as null."""

MOVED = {
    "imagen.app.trainer.make_trainer": "imagen.runs.trainer.make_trainer",
    "imagen.stages.muon.Muon": "imagen.stages.optimizers.muon.Muon",
}
"""Names of classes and functions in runs of earlier versions, and what they are called now."""


def refuse_changes(folder: Path, saved: Mapping[str, Any], wanted: Mapping[str, Any], may_change: list[str]) -> None:
    """Compare the configuration that the run in `folder` was started with to the one that it would resume under.

    Raises:
        UserError: naming the first key that differs and affects numbers, with both values.
    """
    for key in FIXED:
        before, now = _value(saved, key), _value(wanted, key)
        if _renamed(before) != now:
            raise UserError(
                f"{folder} was started with {key}={before}, whose state does not fit {key}={now}; start another run "
                f"from its weights with name=... init_from={folder / 'export'}"
            )
    same = batches_per_step(saved) is not None and batches_per_step(saved) == batches_per_step(wanted)
    free = (*FREE_WITHIN_KEPT, *may_change, *(SHARED_OUT if same else ()))
    for section in KEPT:
        _refuse_difference(section, saved.get(section), wanted.get(section), folder, free)


def batches_per_step(config: Mapping[str, Any]) -> int | None:
    """How many batches make an optimizer step: processes × those that each accumulates. None if it is not known."""
    numbers = [ABSENT.get(key, 1) if (value := _value(config, key)) is None else value for key in SHARED_OUT]
    return math.prod(numbers) if all(isinstance(number, int) and number > 0 for number in numbers) else None


def checked_may_change(wanted: Mapping[str, Any], saved: Mapping[str, Any]) -> list[str]:
    """`may_change` of the configuration `wanted`; `saved` is the run's own, empty for a new run.

    Raises:
        UserError: unless it is a list of keys of one of them.
    """
    names = wanted.get("may_change") or []
    if not isinstance(names, list):
        raise UserError(f"may_change={names} must be a list: may_change=[{names}]")
    known = list(dict.fromkeys([*keys_of(wanted), *keys_of(saved)]))
    for name in names:
        if name not in known:
            raise UserError(f"may_change=[{name}]: no such key{nearest_key(str(name), known)}")
    return names


def _refuse_difference(key: str, saved: object, wanted: object, folder: Path, free: tuple[str, ...]) -> None:
    saved, wanted = (ABSENT.get(key) if value is None else value for value in (saved, wanted))
    saved = _renamed(saved) if key.endswith("_target_") else saved
    if key in free or saved == wanted or _means_the_same(key, saved, wanted):
        return
    if isinstance(saved, dict) and isinstance(wanted, dict):
        for name in sorted((saved.keys() | wanted.keys()) - IGNORED, key=str):
            _refuse_difference(f"{key}.{name}", saved.get(name), wanted.get(name), folder, free)
        return
    # An object of another class would take over the state of the saved one.
    way_out = "" if key.endswith("_target_") else f", or say may_change=[{key}]"
    if key in SHARED_OUT:
        way_out = f", keep processes × trainer.accumulate_grad_batches as it was{way_out}"
    raise UserError(
        f"{folder} was started with {key}={saved} and cannot resume with {key}={wanted}; give the new run another "
        f"name{way_out}"
    )


def _renamed(target: object) -> object:
    """What a class or function is called now."""
    return MOVED.get(target, target) if isinstance(target, str) else target


def _means_the_same(key: str, saved: object, wanted: object) -> bool:
    """Whether two values mean the same: a key that is off and did not exist when the run began, or `auto` (the strategy
    follows from the processes; older runs did not save what the others resolved to)."""
    off = (None, False)
    return (saved in off and wanted in off) or (key.startswith("trainer.") and "auto" in (saved, wanted))


def _value(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key; None if there is none."""
    node: Any = config
    for name in key.split("."):
        node = node.get(name) if isinstance(node, Mapping) else None
    return node
