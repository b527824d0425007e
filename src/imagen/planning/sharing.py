"""How the processes of a training share its weights."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from imagen.stages.sharding.shard import innermost_blocks

SHARDING = ("fsdp", "modelparallel", "shard")
"""Parts of the names of strategies that give every process a share of each weight."""


@dataclass(frozen=True)
class Sharing:
    """What each of `devices` holds.

    Args:
        devices: number of processes, one GPU each.
        sharded: each weight, gradient, moment and average is divided among them by its first axis (FSDP2); otherwise
            each holds them whole.
        bucketed: each holds the gradients a second time, in the buckets that DDP sums.
    """

    devices: int
    sharded: bool = False
    bucketed: bool = False

    @classmethod
    def of(cls, strategy: Any, devices: int) -> "Sharing":
        """Of `trainer.strategy`, a name or a node with a `_target_`. `auto` is DDP where there are several devices."""
        options: Mapping[str, Any] = strategy if isinstance(strategy, Mapping) else {}
        name = str(options.get("_target_", strategy)).lower()
        if any(word in name for word in SHARDING):
            return cls(devices, sharded=True)
        return cls(devices, bucketed=devices > 1 and not options.get("gradient_as_bucket_view", False))

    @property
    def name(self) -> str:
        """One word for tables."""
        return "FSDP" if self.sharded else "DDP" if self.devices > 1 else "one GPU"

    def held(self, tensors: Iterable[Tensor]) -> int:
        """Bytes of the share of the first process, which has the largest."""
        return sum(self._share(tensor) for tensor in tensors)

    def gathered(self, network: nn.Module) -> int:
        """Bytes of the weights that are whole while one block of `network` is at work, 0 unless they are sharded.

        Those are what lies outside of the blocks, the block itself, the next one, which is fetched meanwhile, and the
        gradient of the block before it is divided. A network without blocks is whole.
        """
        if not self.sharded or self.devices == 1:
            return 0
        blocks = [_bytes(block.parameters()) for block in innermost_blocks(network)]
        whole = _bytes(network.parameters())
        return whole - sum(blocks) + 3 * max(blocks) if blocks else 2 * whole

    def _share(self, tensor: Tensor) -> int:
        if not self.sharded or tensor.ndim == 0:
            return tensor.nbytes
        rows: Sequence[int] = tensor.shape[:1]
        return tensor.nbytes // max(1, rows[0]) * -(-rows[0] // self.devices)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
