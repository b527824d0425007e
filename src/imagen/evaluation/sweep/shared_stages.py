"""Pictures of the first stages, made once where several cells of a sweep have these stages in common.

The super-resolution sweep of the paper samples its base stage once. The pictures are kept as they leave the stage, not
rounded, so the cells are the same as if every one of them had sampled all stages.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from imagen.evaluation.sweep.blocks import save_atomically
from imagen.files import fingerprint, read_tensors
from imagen.locks import hold
from imagen.tensors import Images

Stages = Sequence[Mapping[str, Any]]
"""All that the pictures of each stage depend on besides those of the stage before, the captions and their ids."""


class SharedStages:
    """The pictures that more than one of `cells` needs, one file for each block, in `folder`.

    Files are whole or absent, named by all that they depend on, and made by one process at a time.
    """

    def __init__(self, folder: Path, cells: Sequence[Stages]) -> None:
        self.folder = folder
        self.locks = folder.with_name("locks") / folder.name
        beginnings = Counter(fingerprint(list(cell[:depth])) for cell in cells for depth in range(1, len(cell)))
        self._shared = {beginning for beginning, count in beginnings.items() if count > 1}

    def depth(self, stages: Stages) -> int:
        """How many of the first stages another cell has too; never all of them."""
        depths = [d for d in range(1, len(stages)) if fingerprint(list(stages[:d])) in self._shared]
        return max(depths, default=0)

    def images(self, stages: Stages, content: Mapping[str, Any], make: Callable[[], Images]) -> Images:
        """The pictures of the last of `stages` for `content` (captions, ids, seed), from their file or from `make`."""
        key = fingerprint({"stages": list(stages), "content": dict(content)})
        path = self.folder / f"{key[:32]}.safetensors"
        with hold(self.locks / key[:32], wait=True):
            images = _load(path)
            if images is None:
                # As they are read back, so that the first cell and the others see the same.
                save_atomically({"images": make().cpu().contiguous()}, {}, path)
                images = _load(path)
                assert images is not None, f"{path} cannot be read back"
        return images


def _load(path: Path) -> Tensor | None:
    from safetensors import SafetensorError

    try:
        return read_tensors(path)[1]["images"]
    except (OSError, SafetensorError, KeyError):
        return None
