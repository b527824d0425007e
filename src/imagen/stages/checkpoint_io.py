"""Checkpoints that are whole or absent, and that execute nothing when they are loaded."""

import os
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH

from imagen.errors import UserError
from imagen.files import create, fsync_folder, open_regular, sha256_of_file


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file in the same folder, fsyncs it and renames it. Beside every checkpoint is its sha256.

    Weights or optimizer states that are not finite are refused; the previous checkpoint stays.

    Lightning's own writer uses the system's temporary folder and can leave half a file behind.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        target = Path(path)
        if (name := next(_not_finite(checkpoint), None)) is not None:
            raise UserError(
                f"{name} is not finite at step {checkpoint.get('global_step')}: {target} is not written, "
                "the checkpoint before it is intact; start again with a smaller stage.optimizer.lr or with "
                "trainer.precision=32-true"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.part")
        try:
            with create(partial) as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            digest = sha256_of_file(partial)
            # A kill may leave either checkpoint here, so the digests of both are written first. There may be more than
            # two: an earlier kill can leave the digest of a checkpoint that was never renamed.
            _write_digests(target, [digest, *_read_digests(target)])
            partial.replace(target)
            _write_digests(target, [digest])
            fsync_folder(target.parent)
        except (OSError, RuntimeError) as error:  # torch's zip writer turns the disk's errors into RuntimeErrors
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            partial.unlink(missing_ok=True)
            need = sum(tensor.nbytes for _, tensor in _tensors(checkpoint, ""))
            raise UserError(
                f"cannot write {target}: {cause.strerror} (needs {need} bytes, "
                f"{shutil.disk_usage(target.parent).free} free); the checkpoint before it is intact. Free some "
                "space or choose another paths.runs",
                environment=True,
            ) from error

    def load_checkpoint(self, path: _PATH, *args: Any, **kwargs: Any) -> dict[str, Any]:
        source = Path(path)
        if not source.is_file():
            raise UserError(f"checkpoint {source} does not exist")
        if not source.stat().st_size:
            raise UserError(f"checkpoint {source} cannot be read: it is empty (0 bytes); delete it")
        if expected := _read_digests(source):
            digest = sha256_of_file(source)
            if digest not in expected:
                raise UserError(
                    f"checkpoint {source}: sha256 {digest[:12]}…, expected {expected[0][:12]}…: the file is damaged; "
                    "delete it to go on from an older one"
                )
        try:
            _refuse_compressed(source)
            # Mapped and not read: of what nobody uses, or several processes of a machine read, there is one copy. The
            # file is never written to again; a newer one takes its name.
            return torch.load(source, map_location="cpu", weights_only=True, mmap=True)
        except UserError:
            raise
        except pickle.UnpicklingError as error:
            raise UserError(
                f"checkpoint {source} cannot be read: it is no checkpoint of tensors and plain values, or holds code, "
                "which is never run; take it from where it was written once more, or delete it"
            ) from error
        except Exception as error:  # torch raises half a dozen types for a damaged file
            reason = str(error).strip().splitlines()[0].split(". ")[0] if str(error).strip() else type(error).__name__
            raise UserError(
                f"checkpoint {source} cannot be read: it is cut or damaged ({reason}); delete it"
            ) from error

    def remove_checkpoint(self, path: _PATH) -> None:
        super().remove_checkpoint(path)
        _digest_file(Path(path)).unlink(missing_ok=True)


def _refuse_compressed(path: Path) -> None:
    """Refuse a zip bomb: torch stores its entries uncompressed, so they are never larger than the file.

    Raises:
        UserError: if the entries together are larger than the file.
        zipfile.BadZipFile: if it is no zip archive, such as torch's format of before 2020, whose sizes are only claims.
    """
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > (size := path.stat().st_size):
        raise UserError(
            f"checkpoint {path} unpacks from {size} to {unpacked} bytes, which torch.save never writes (a zip bomb?); "
            "take it from where it was written once more, or delete it"
        )


def _digest_file(checkpoint: Path) -> Path:
    return checkpoint.with_name(checkpoint.name + ".sha256")


def _read_digests(checkpoint: Path) -> list[str]:
    """Usually one; more while the file is being replaced, or after a kill meanwhile; none if there is no such file."""
    file = _digest_file(checkpoint)
    return file.read_text(encoding="ascii", errors="replace").split() if file.is_file() else []


def _write_digests(checkpoint: Path, digests: list[str]) -> None:
    partial = checkpoint.with_name(f".{checkpoint.name}.sha256.part")
    with create(partial) as file:
        file.write(("\n".join(digests) + "\n").encode("ascii"))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(_digest_file(checkpoint))


def _tensors(node: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in nested dictionaries and lists, with its dotted path."""
    if isinstance(node, torch.Tensor):
        yield name, node
    elif isinstance(node, dict | list | tuple):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _tensors(child, f"{name}.{key}".strip("."))


def _not_finite(checkpoint: dict[str, Any]) -> Iterator[str]:
    """Names of the weights and optimizer states that hold NaN or infinity."""
    for part in ("state_dict", "optimizer_states"):
        for name, tensor in _tensors(checkpoint.get(part, {}), part):
            if tensor.is_floating_point() and not tensor.isfinite().all():
                yield name
