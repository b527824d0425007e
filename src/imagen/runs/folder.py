"""Folders of runs: where a run keeps its configuration, checkpoints and exported stage, and how to find them again."""

import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from imagen.errors import UserError
from imagen.files import write_atomically
from imagen.instantiation import as_dict
from imagen.runs.resuming import checked_may_change, refuse_changes
from imagen.runs.saved_config import read_saved
from imagen.stages.checkpoint_io import AtomicCheckpointIO
from imagen.stages.export import CONFIG, read_description

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """runs/<stage>/<name>: config.yaml, checkpoints/, export/, samples/, TensorBoard events."""

    path: Path

    @property
    def last_checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def export(self) -> Path:
        return self.path / "export"

    def exported_step(self) -> int | None:
        """The optimizer step of the exported stage; None when the run was killed before it was exported."""
        return read_description(self.export).step if (self.export / CONFIG).is_file() else None

    def probe(self) -> None:
        """Fail now, not at the first checkpoint, if nothing can be written here."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # Under a name that no other process of this run has.
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise UserError(
                f"cannot write to {self.path}: {error.strerror}; choose another paths.runs", environment=True
            ) from None

    def check_space(self, checkpoint_bytes: int) -> None:
        """Fail now if the disk cannot take the last and the best checkpoint and the one being written.

        Raises:
            UserError: naming path, bytes needed and bytes free.
        """
        there = len(list(self.last_checkpoint.parent.glob("*.ckpt")))
        need, free = max(1, 3 - there) * checkpoint_bytes, shutil.disk_usage(self.path).free
        if free < need:
            raise UserError(
                f"{self.path}: checkpoints need {need} bytes, {free} are free; make room or choose another paths.runs",
                environment=True,
            )

    def newest_valid_checkpoint(self, fits: Callable[[dict[str, Any]], None]) -> tuple[Path, int] | None:
        """The newest checkpoint that is whole, and its optimizer step; None for a run that has none yet.

        A damaged one that a whole one replaces is named and renamed to *.damaged: kept, and out of the way of the next
        save. `fits` is called with the content of the one taken, and raises what speaks against it.

        Raises:
            UserError: if there are checkpoints and none of them is whole.
        """
        folder = self.last_checkpoint.parent
        candidates = sorted(folder.glob("*.ckpt"), key=lambda path: path.lstat().st_mtime_ns, reverse=True)
        damaged: dict[Path, UserError] = {}
        for path in candidates:
            try:
                content = _content_of(path)
            except UserError as error:
                damaged[path] = error
                continue
            for other, reason in damaged.items():
                log.warning("skipped, and kept as %s.damaged: %s", other.name, reason)
                # Another process of this run may have been quicker.
                with suppress(FileNotFoundError):
                    other.replace(other.with_name(f"{other.name}.damaged"))
            fits(content)
            return path, content["global_step"]
        if damaged:
            raise UserError(
                f"no checkpoint in {folder} is whole, first {next(iter(damaged.values()))}; or start another run with "
                "name=..."
            )
        return None

    def keep_configuration(
        self, config: DictConfig, write: bool = True, auto: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        """Save the configuration of a new run; refuse to resume a run under another one but for `config.may_change`.

        `auto` is what keys of `config.trainer` came to on this machine; on another one it may be something else.
        Of processes that train together one is to `write`; the others only refuse.

        Raises:
            UserError: naming the first key that differs, with both values; for a `may_change` that names none.
        """
        path = self.path / "config.yaml"
        resolved = as_dict(config)
        resolved["trainer"] |= auto
        begun = path.is_file() and any(self.last_checkpoint.parent.glob("*.ckpt"))
        saved = read_saved(path) if begun else {}
        may_change = checked_may_change(resolved, saved)
        if begun:
            refuse_changes(self.path, saved, resolved, may_change)
        if write:
            write_atomically(path, OmegaConf.to_yaml(OmegaConf.create(resolved)).encode())


def _content_of(checkpoint: Path) -> dict[str, Any]:
    """Of a checkpoint of ours. Raises UserError for another file."""
    content = AtomicCheckpointIO().load_checkpoint(checkpoint)
    if not isinstance(content, dict) or not {"global_step", "state_dict", "optimizer_states"} <= content.keys():
        raise UserError(f"checkpoint {checkpoint} is not one of a training run")
    return content
