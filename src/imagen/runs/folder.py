"""The folder of a run: its configuration, checkpoints and exported stage."""

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
        """The optimizer step of the exported stage; None if there is none, since the run is not finished."""
        return read_description(self.export).step if (self.export / CONFIG).is_file() else None

    def probe(self) -> None:
        """Raise UserError now, and not at the first checkpoint, if the folder cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # A name that no other process of this run uses.
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise UserError(
                f"cannot write to {self.path}: {error.strerror}; choose another paths.runs", environment=True
            ) from None

    def check_space(self, checkpoint_bytes: int) -> None:
        """Raise now if the disk has no room for the last checkpoint, the best one and the one being written.

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
        """The newest undamaged checkpoint and its optimizer step; None if the run has no checkpoint yet.

        Newer ones that are damaged are reported and renamed to *.damaged, out of the way of the next save. `fits` is
        called with the content of the chosen checkpoint, and raises if it does not fit the run.

        Raises:
            UserError: if there are checkpoints and all are damaged.
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
                # Another process of this run may have renamed it already.
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
        """Save the configuration of a new run; refuse to resume a run under another one, except for the keys in
        `config.may_change`.

        Args:
            write: False in all but one of the processes that train together; the others only compare.
            auto: what the keys of `config.trainer` that say `auto` resolved to on this machine.

        Raises:
            UserError: naming the first key that differs, with both values; for a `may_change` that names no key.
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
    """The content of a checkpoint. Raises UserError if it is not one of a training run."""
    content = AtomicCheckpointIO().load_checkpoint(checkpoint)
    if not isinstance(content, dict) or not {"global_step", "state_dict", "optimizer_states"} <= content.keys():
        raise UserError(f"checkpoint {checkpoint} is not one of a training run")
    return content
