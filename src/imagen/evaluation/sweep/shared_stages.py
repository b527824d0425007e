"""Pictures of the first stages, made once if several cells of a sweep have these stages in common.

The super-resolution sweep of the paper samples its base stage once. The pictures are stored without rounding, so the
cells are the same as if each one had sampled all stages, and with the seconds they took, which count for each cell.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from imagen.evaluation.sweep.blocks import save_atomically
from imagen.files import fingerprint, read_tensors
from imagen.locks import hold
from imagen.tensors import Images

Stages = Sequence[Mapping[str, Any]]
"""For each stage, everything its pictures depend on besides the pictures of the stage before, captions and ids."""


class Smaller(NamedTuple):
    """Pictures, and the seconds that all of them took; None where an earlier version made them."""

    images: Images
    seconds: float | None


class SharedStages:
    """The pictures that more than one of `cells` needs, one file per block, in `folder`.

    Files are written atomically, named by a hash of everything they depend on, and made by one process at a time.
    """

    def __init__(self, folder: Path, cells: Sequence[Stages]) -> None:
        self.folder = folder
        self.locks = folder.with_name("locks") / folder.name
        beginnings = Counter(fingerprint(list(cell[:depth])) for cell in cells for depth in range(1, len(cell)))
        self._shared = {beginning for beginning, count in beginnings.items() if count > 1}

    def depth(self, stages: Stages) -> int:
        """The number of first stages that another cell has too; never all of them."""
        depths = [d for d in range(1, len(stages)) if fingerprint(list(stages[:d])) in self._shared]
        return max(depths, default=0)

    def images(self, stages: Stages, content: Mapping[str, Any], make: Callable[[], Images]) -> Smaller:
        """The pictures of the last of `stages` for `content` (captions, ids, seed), from a file or from `make`."""
        key = fingerprint({"stages": list(stages), "content": dict(content)})
        path = self.folder / f"{key[:32]}.safetensors"
        with hold(self.locks / key[:32], wait=True):
            smaller = _load(path)
            if smaller is None:
                begun = perf_counter()
                images = make().cpu().contiguous()
                seconds = perf_counter() - begun
                # Read back from the file, so that the first cell gets the same pictures as the others.
                save_atomically({"images": images}, {"seconds": repr(seconds)}, path)
                smaller = _load(path)
                assert smaller is not None, f"{path} cannot be read back"
        return smaller


def _load(path: Path) -> Smaller | None:
    from safetensors import SafetensorError

    try:
        metadata, tensors = read_tensors(path)
        return Smaller(tensors["images"], float(metadata["seconds"]) if "seconds" in metadata else None)
    except (OSError, SafetensorError, KeyError):
        return None
