"""Books of the memory that tensors take and of the arithmetic done on them, kept while code runs."""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Ledger(TorchDispatchMode):
    """Counts, of what runs inside it, the bytes of the tensors alive and the floating-point operations.

    A storage counts once, however many tensors view it, from its first result until it is freed. On real tensors the
    largest number is what the allocator hands out, without its rounding and without the workspaces of its libraries;
    under a FakeTensorMode entered before, nothing is allocated. A product and a sum are two operations; only matrix
    products, convolutions and attention count (`torch.utils.flop_counter`), forward, backward and recomputed.

    Attributes:
        live: bytes alive now.
        peak: the most that were alive since `forget_peak`.
        flops: operations so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live, self.peak, self.flops = 0, 0, 0
        self._noted: dict[int, weakref.ref] = {}

    def note(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors that are there already."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self._noted:
                self.live += size
                self.peak = max(self.peak, self.live)
                self._noted[key] = weakref.ref(storage, lambda _, key=key, size=size: self._freed(key, size))

    def forget_peak(self) -> None:
        """From here on, `peak` is of what follows."""
        self.peak = self.live

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and not _is_computed(args[0]):
            return 1.0  # Adafactor reads the norm of each weight, which no number of ours depends on
        out = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        self.note(leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        return out

    def _freed(self, key: int, size: int) -> None:
        self.live -= size
        del self._noted[key]


def _is_computed(tensor: Tensor) -> bool:
    """Whether the tensor has numbers."""
    return type(tensor) is Tensor and not tensor.is_meta
