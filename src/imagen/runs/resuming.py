"""What may differ when a run resumes: nothing that would change its numbers, unless `may_change` names it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagen.commandline.config_errors import keys_of, nearest_key
from imagen.errors import UserError

KEPT = ("stage", "text", "resolutions", "data", "seed", "init_from", "trainer")
"""The sections that decide numbers. What is in none of them (paths, callbacks, logger, name) decides none."""

FREE_WITHIN_KEPT = (
    "data.text",  # a copy of `text`, which is compared by itself
    "data.num_workers",
    "data.bad_pictures.lists",
    "data.bad_pictures.check_first",
    "data.bad_pictures.max_share",  # a run that none of them stopped has the same numbers
    "data.train.index",
    "data.train.source.index",
    "data.train.source.download",
    "data.validation.index",
    "data.validation.source.index",
    "data.validation.source.download",
    "text.encoder.path",  # what it must hold, the fingerprint of the cache and of the export say
    "text.encoder.local_files_only",
    "text.folder",
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
)
"""What may differ all the same: it changes no number of a step, or the user wants the change."""

FIXED = ("stage.optimizer._target_", "stage.optimizer.min_side")
"""What `may_change` cannot allow: the state of another optimizer does not fit."""

IGNORED = {"_convert_"}
"""Keys that older configurations have at any depth and that decide nothing: how Hydra was to hand over lists."""

ABSENT: Mapping[str, Any] = {"trainer.num_nodes": 1}
"""What keys stand for in a configuration that lacks them; the others for nothing."""

MOVED = {"imagen.app.trainer.make_trainer": "imagen.runs.trainer.make_trainer"}
"""Names of classes and functions in runs of earlier versions, and what they are called now."""


def refuse_changes(folder: Path, saved: Mapping[str, Any], wanted: Mapping[str, Any], may_change: list[str]) -> None:
    """Compare the configuration that the run in `folder` was started with and the one it is to go on with.

    Raises:
        UserError: naming the first key that differs and decides numbers, with both values.
    """
    for key in FIXED:
        before, now = _value(saved, key), _value(wanted, key)
        if before != now:
            raise UserError(
                f"{folder} was started with {key}={before}, whose state does not fit {key}={now}; start another run "
                f"from its weights with name=... init_from={folder / 'export'}"
            )
    for section in KEPT:
        _refuse_difference(section, saved.get(section), wanted.get(section), folder, (*FREE_WITHIN_KEPT, *may_change))


def checked_may_change(wanted: Mapping[str, Any], saved: Mapping[str, Any]) -> list[str]:
    """`may_change` of the configuration `wanted`; `saved` is that of the run so far, empty for a new one.

    Raises:
        UserError: unless it is a list of keys that one of them has.
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
    if key.endswith("_target_") and isinstance(saved, str):
        saved = MOVED.get(saved, saved)
    if key in free or saved == wanted or _says_nothing(key, saved, wanted):
        return
    if isinstance(saved, dict) and isinstance(wanted, dict):
        for name in sorted((saved.keys() | wanted.keys()) - IGNORED, key=str):
            _refuse_difference(f"{key}.{name}", saved.get(name), wanted.get(name), folder, free)
        return
    # Another class would be trained on as if the run had always had it.
    or_say = "" if key.endswith("_target_") else f", or say may_change=[{key}]"
    raise UserError(
        f"{folder} was started with {key}={saved} and cannot resume with {key}={wanted}; give the new run another "
        f"name{or_say}"
    )


def _says_nothing(key: str, saved: object, wanted: object) -> bool:
    """Whether the difference is none: of a key that is off, and was not there when the run began, or of `auto` (the
    strategy follows from the processes; older runs did not write down what the rest came to)."""
    off = (None, False)
    return (saved in off and wanted in off) or (key.startswith("trainer.") and "auto" in (saved, wanted))


def _value(config: Mapping[str, Any], key: str) -> Any:
    """What stands at a dotted key, None where nothing does."""
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config
