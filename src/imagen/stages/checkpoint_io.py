"""Checkpoints that are whole or absent, and that run nothing when they are loaded."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH

from imagen.errors import UserError
from imagen.stages.export import file_sha256


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file in the same folder, fsyncs, renames; a sha256 lies beside every checkpoint.

    Lightning's own writer goes through the system's temporary folder and can leave half a file behind.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.part")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            digest = file_sha256(partial)
            digest_file = _digest_file(target)
            digest_file.unlink(missing_ok=True)  # a kill before the new digest leaves none, never a wrong one
            partial.replace(target)
            digest_file.write_text(digest + "\n", encoding="ascii")
            _fsync_folder(target.parent)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise UserError(
                f"cannot write {target}: {error.strerror}; the checkpoint before it is intact. Free some space or "
                "choose another paths.runs",
                environment=True,
            ) from error

    def load_checkpoint(self, path: _PATH, *args: Any, **kwargs: Any) -> dict[str, Any]:
        source = Path(path)
        if not source.is_file():
            raise UserError(f"checkpoint {source} does not exist")
        if (digest_file := _digest_file(source)).is_file():
            expected, found = digest_file.read_text(encoding="ascii").strip(), file_sha256(source)
            if expected != found:
                raise UserError(
                    f"checkpoint {source}: sha256 {found[:12]}…, expected {expected[:12]}…: the file is damaged; "
                    "delete it to go on from an older one"
                )
        try:
            return torch.load(source, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises half a dozen types for a file that is not a checkpoint
            reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
            raise UserError(f"checkpoint {source} cannot be read: {reason}") from error

    def remove_checkpoint(self, path: _PATH) -> None:
        super().remove_checkpoint(path)
        _digest_file(Path(path)).unlink(missing_ok=True)


def _digest_file(checkpoint: Path) -> Path:
    return checkpoint.with_name(checkpoint.name + ".sha256")


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
