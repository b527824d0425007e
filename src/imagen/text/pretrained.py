"""Models and tokenizers of transformers from somebody's folder: its weights and settings are loaded, never its code."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imagen.checks.foreign import read_json
from imagen.errors import UserError

ATTENTION = ("eager", "sdpa")
"""The implementations that are part of transformers. Others are packages, or repositories of the hub whose code is
run."""

PARALLELISM = "TOKENIZERS_PARALLELISM"
"""Environment variable that the tokenizers library reads at every call."""


def load_pretrained(cls: Any, folder: Path, alone: bool = False, **options: Any) -> Any:
    """`cls.from_pretrained(folder, **options)`, without a connection and without code from the folder.

    `alone`: the folder holds a tokenizer and no model, whose config.json would be in another one.

    Raises:
        UserError: if config.json asks for code, or the model does not load, for whatever reason.
    """
    if not (alone and not (folder / "config.json").exists()):
        _refuse_code(folder)
    try:
        with quiet_transformers():
            return cls.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
    except Exception as error:  # no list foresees what a stranger's settings lead to
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if "trust_remote_code" in str(error):
            reason = "it brings code of its own, which is never run"
        elif "ignore_mismatched_sizes" in str(error):
            reason = "its weights are of other sizes than config.json says"
        raise UserError(f"{folder}: {cls.__name__} does not load ({reason}); restore the folder") from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Within the body transformers prints errors only and no progress bars, and tokenizers start no threads. The
    settings of the process are put back afterwards."""
    from huggingface_hub import utils as hub
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_bars = not hub.are_progress_bars_disabled()
    threads = os.environ.get(PARALLELISM)
    logging.set_verbosity_error()  # its warnings print the folder's texts unescaped; what matters is checked here
    logging.disable_progress_bar()  # those of the hub too
    if threads is None:
        os.environ[PARALLELISM] = "false"  # loader workers may be forked later, which the threads would not survive
    try:
        yield
    finally:
        if threads is None:
            os.environ.pop(PARALLELISM, None)
        if bars:
            logging.enable_progress_bar()
        (hub.enable_progress_bars if hub_bars else hub.disable_progress_bars)()
        logging.set_verbosity(level)


def _refuse_code(folder: Path) -> None:
    """Raises UserError for settings that make transformers run code other than its own."""
    try:
        settings = read_json(folder / "config.json", "restore the folder")
    except FileNotFoundError:
        raise UserError(f"{folder}/config.json is missing; give the folder of a complete model") from None
    for key, value in _settings(settings):
        named = value.values() if isinstance(value, Mapping) else [value]
        if "attn_implementation" in key and not {None, *ATTENTION}.issuperset(named):
            raise UserError(f"{folder}/config.json: {key}={value!r:.80} may be code; remove it, or say sdpa or eager")
        if key == "quantization_config" and value is not None:
            raise UserError(f"{folder}/config.json: quantised weights are not read; give those that were not quantised")


def _settings(node: Any) -> Iterator[tuple[str, Any]]:
    """Every key below `node` with its value."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield key, value
            yield from _settings(value)
    elif isinstance(node, list):
        for value in node:
            yield from _settings(value)
