"""A GPU that is not there: tensors on "cuda" that have shapes and no numbers, and a watch over what waits for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
CUDA = torch.device("cuda", 0)


class HiddenWaitError(AssertionError):
    """What would make the host wait until the GPU has done all that it was given."""


class Watch(TorchDispatchMode):
    """Refuses reads of numbers that are on the GPU, and copies between it and the host that wait.

    `waited` counts the reads inside `allowed`, which give 1, that is true. `waits`: copies may wait.
    """

    def __init__(self, waits: bool = False) -> None:
        super().__init__()
        self.waited, self._allowed, self._waits = 0, False, waits

    @contextmanager
    def allowed(self) -> Iterator[None]:
        self._allowed = True
        yield
        self._allowed = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            if args[0].device.type != "cuda":
                return 0.5  # a number that the host drew itself
            if not self._allowed:
                raise HiddenWaitError("a number is read from the GPU: .item(), bool() or .tolist()")
            self.waited += 1
            return 1.0
        given = {leaf.device.type for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        out = func(*args, **kwargs)
        if not self._waits:
            self._refuse_copies(func, args, kwargs, given, out)
        return out

    def _refuse_copies(self, func: Any, args: Any, kwargs: Any, given: set[str], out: Any) -> None:
        made = {leaf.device.type for leaf in tree_leaves(out) if isinstance(leaf, Tensor)}
        if func is aten.copy_.default:
            given, made = {args[1].device.type}, {args[0].device.type}
        elif func is not aten._to_copy.default:
            return
        if given == {"cuda"} and made == {"cpu"}:
            raise HiddenWaitError(f"{func}: from the GPU to the host")
        if given == {"cpu"} and made == {"cuda"} and not kwargs.get("non_blocking"):
            raise HiddenWaitError(f"{func}: from the host to the GPU, and waits; use imagen.devices.moved")


@contextmanager
def absent_gpu(waits: bool = False) -> Iterator[Watch]:
    """Inside it tensors can be put on "cuda". Operations on tensors of two devices raise, and so do hidden waits,
    unless copies may wait (`waits`).

    What torch does with pinned memory needs a driver: a pinned tensor is the tensor.
    """
    with patch.object(Tensor, "pin_memory", lambda tensor: tensor), FakeTensorMode(), Watch(waits) as watch:
        yield watch


def place(module: nn.Module, device: torch.device = CUDA) -> None:
    """Put weights and buffers of a module from the meta device, or from this one, on `device`, without numbers."""
    for owner in module.modules():
        for name, parameter in owner.named_parameters(recurse=False):
            owner.register_parameter(name, nn.Parameter(_like(parameter, device), parameter.requires_grad))
        for name, buffer in owner.named_buffers(recurse=False):
            setattr(owner, name, _like(buffer, device))


def _like(tensor: Tensor, device: torch.device) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
