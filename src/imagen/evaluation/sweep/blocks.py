"""Block files: features, cosines, answers and verdicts for one block of prompts in one cell of the sweep.

Each block is a safetensors file, written atomically. Its header holds a fingerprint of everything that its content
depends on; a file with another fingerprint is not used.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from imagen.evaluation.judges.checker import Verdict
from imagen.evaluation.sweep.timing import Timing
from imagen.files import fingerprint, read_tensors, write_atomically
from imagen.locks import hold
from imagen.tensors import PerImage

FORMAT = 2


@dataclass(frozen=True)
class Block:
    """`features` and `cosines` by judge; one verdict for each picture (None if its prompt cannot be checked); the first
    few pictures themselves, for the grids; the size of all pictures; thumbnails of all of them, which blocks of earlier
    versions lack; a timing for each picture, None for those that earlier versions sampled. Controls have no timings.

    Of judges that answer questions: `scores`, how well each picture fits its caption; `answers`, for each picture the
    probability of the right answer to each question of its prompt. Both are empty without such a judge."""

    features: dict[str, Float[Tensor, "batch _"]]
    cosines: dict[str, PerImage]
    verdicts: list[Verdict | None]
    pictures: UInt8[Tensor, "kept height width 3"]
    resolution: int
    thumbnails: UInt8[Tensor, "batch side side 3"] | None = None
    timings: Sequence[Timing | None] = ()
    scores: dict[str, PerImage] = field(default_factory=dict)
    answers: dict[str, list[list[float]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.verdicts)

    def first(self, count: int) -> "Block":
        """The block of the first `count` pictures."""
        return Block(
            features={name: values[:count] for name, values in self.features.items()},
            cosines={name: values[:count] for name, values in self.cosines.items()},
            verdicts=self.verdicts[:count],
            pictures=self.pictures[:count],
            resolution=self.resolution,
            thumbnails=None if self.thumbnails is None else self.thumbnails[:count],
            timings=self.timings[:count],
            scores={name: values[:count] for name, values in self.scores.items()},
            answers={name: values[:count] for name, values in self.answers.items()},
        )


class BlockStore:
    """The block files of one sweep. `identity`: the settings that all of them depend on (cascade, judges, seed,
    sampler, checker)."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.identity = fingerprint({"format": FORMAT, **identity})
        self.folder = folder / self.identity[:16]
        self.locks = folder.with_name("locks") / self.identity[:16]

    def path(self, cell: str, index: int) -> Path:
        return self.folder / cell / f"block-{index:05d}.safetensors"

    def hold(self, cell: str, index: int, wait: bool) -> AbstractContextManager[bool]:
        """The lock of a block, so that one process at a time makes it. See `imagen.locks.hold`."""
        return hold(self.locks / f"{cell}-{index:05d}", wait)

    def load(self, cell: str, index: int, content: Mapping[str, Any]) -> Block | None:
        """The block; None if it is missing, damaged, or made from other `content` (prompts, ids)."""
        header, tensors = _read(self.path(cell, index))
        return _unpack(header, tensors) if header.get("fingerprint") == self._fingerprint(cell, content) else None

    def count(self, cell: str, index: int) -> int:
        """The number of pictures in the file of a block, whatever its content; 0 if there is no file."""
        return len(_read(self.path(cell, index))[0].get("verdicts", []))

    def save(self, cell: str, index: int, content: Mapping[str, Any], block: Block) -> None:
        """Write a block. Equal blocks, timings included, give equal files, byte for byte. Call it only while the block
        is held."""
        header = {
            "fingerprint": self._fingerprint(cell, content),
            "verdicts": block.verdicts,
            "resolution": block.resolution,
        }
        if any(block.timings):
            header["timings"] = block.timings
        if block.answers:
            header["answers"] = block.answers
        tensors = {"pictures": block.pictures.contiguous()}
        tensors |= {f"features/{name}": values.contiguous() for name, values in block.features.items()}
        tensors |= {f"cosines/{name}": values.contiguous() for name, values in block.cosines.items()}
        tensors |= {f"scores/{name}": values.contiguous() for name, values in block.scores.items()}
        if block.thumbnails is not None:
            tensors["thumbnails"] = block.thumbnails.contiguous()
        path = self.path(cell, index)
        for abandoned in path.parent.glob(f".{path.name}.*"):  # left by a process that was killed while writing
            abandoned.unlink()
        # One key only, because safetensors writes several keys in arbitrary order.
        save_atomically(tensors, {"block": json.dumps(header, sort_keys=True)}, path)

    def _fingerprint(self, cell: str, content: Mapping[str, Any]) -> str:
        return fingerprint({"sweep": self.identity, "cell": cell, "content": dict(content)})


def save_atomically(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    """Write a safetensors file so that `path` is either absent or whole, whenever the process is killed."""
    from safetensors.torch import save

    write_atomically(path, save(tensors, metadata))


def join(blocks: Sequence[Block]) -> Block:
    """The blocks of a cell as one, in order."""
    first = blocks[0]
    small = [block.thumbnails for block in blocks if block.thumbnails is not None]
    return Block(
        features={name: torch.cat([block.features[name] for block in blocks]) for name in first.features},
        cosines={name: torch.cat([block.cosines[name] for block in blocks]) for name in first.cosines},
        verdicts=[verdict for block in blocks for verdict in block.verdicts],
        pictures=torch.cat([block.pictures for block in blocks]),
        resolution=first.resolution,
        thumbnails=torch.cat(small) if len(small) == len(blocks) else None,
        timings=[timing for block in blocks for timing in block.timings],
        scores={name: torch.cat([block.scores[name] for block in blocks]) for name in first.scores},
        answers={name: [one for block in blocks for one in block.answers[name]] for name in first.answers},
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a block file; both are empty if the file is missing or damaged."""
    from safetensors import SafetensorError

    try:
        metadata, tensors = read_tensors(path)
        header = json.loads(metadata.get("block", "{}"))
    except (OSError, SafetensorError, ValueError, RecursionError):
        return {}, {}
    return (header, tensors) if isinstance(header, dict) else ({}, {})


def _unpack(header: dict[str, Any], tensors: dict[str, Tensor]) -> Block:
    def group(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    return Block(
        features=group("features/"),
        cosines=group("cosines/"),
        verdicts=header["verdicts"],
        pictures=tensors["pictures"],
        resolution=header["resolution"],
        thumbnails=tensors.get("thumbnails"),
        timings=[one and Timing(*one) for one in header.get("timings", [None] * len(header["verdicts"]))],
        scores=group("scores/"),
        answers=header.get("answers", {}),
    )
