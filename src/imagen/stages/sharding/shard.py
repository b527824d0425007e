"""Weights as one piece in each process: sharding a network, and putting the pieces of a tensor together again."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor

from imagen.diffusion.denoiser import Denoiser
from imagen.errors import UserError


def shard_denoiser(denoiser: Denoiser, mesh: DeviceMesh) -> None:
    """Leave each process of `mesh` its piece of the network's weights, in place. All processes must call this.

    A weight is cut along its first dimension. A block is put together for its own forward and backward pass, the rest
    of the network for the whole of each. Weights are passed on and gradients averaged as they are, in float32.

    Args:
        denoiser: equal in all processes.
        mesh: of one dimension.

    Raises:
        UserError: if weights that are trained lie outside of the network: nobody would average their gradients.
    """
    network = denoiser.network.to(memory_format=torch.contiguous_format)  # FSDP2 takes no other weights
    for module in (*innermost_blocks(network), network):
        # `reshard_after_forward` is off at the root by default: after a validation the average would stay whole.
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    outside = [
        name for name, weight in denoiser.named_parameters() if weight.requires_grad and not isinstance(weight, DTensor)
    ]
    if outside:
        raise UserError(
            f"trainer=fsdp: the weights {', '.join(outside[:3])} lie outside of stage.denoiser.network and would "
            "not be shared; use trainer=ddp"
        )


def innermost_blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The elements of every `nn.ModuleList` that hold no further one: what a network repeats."""
    for module in network.modules():
        if isinstance(module, nn.ModuleList):
            for block in module:
                has_weights = next(block.parameters(), None) is not None
                if has_weights and not any(isinstance(inner, nn.ModuleList) for inner in block.modules()):
                    yield block


def whole(tensor: Tensor) -> Tensor:
    """The tensor of which each process has a piece. All processes must call this. Others are returned as they are."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_piece(tensor: Tensor) -> Tensor:
    """This process's piece of a sharded tensor, in the same memory. Others are returned as they are."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def piece_like(tensor: Tensor, weight: Tensor) -> Tensor:
    """This process's piece of `tensor`, which is the same in all processes: a weight, its gradient, or its state.

    It is cut as `weight` is if its first dimension is as long, and kept whole by every process if not; without any
    communication, unless it is cut already, in another way. If `weight` is not sharded, and for a single number, it is
    `tensor` itself.
    """
    if not isinstance(weight, DTensor) or tensor.ndim == 0:
        return tensor
    if isinstance(tensor, DTensor):
        return tensor.redistribute(placements=weight.placements)
    places = weight.placements if len(tensor) == len(weight) else [Replicate()]
    return distribute_tensor(tensor.to(weight.device), weight.device_mesh, places, src_data_rank=None)


def gathered(node: Any, keep: bool) -> Any:
    """The nested dictionaries and lists `node` with every piece as a whole tensor on the CPU, one after another.

    All processes must call this, with the same names. Where `keep` is False, nothing is kept of the tensors.
    """
    if isinstance(node, DTensor):
        tensor = whole(node.detach())
        return tensor.cpu() if keep else None
    if isinstance(node, dict):
        return {name: gathered(child, keep) for name, child in node.items()}
    if isinstance(node, list | tuple):
        return type(node)(gathered(child, keep) for child in node)
    return node
