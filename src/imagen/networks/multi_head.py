"""How queries and keys make weights for values."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_FUSED_EVERYWHERE = ContextVar("fused_everywhere", default=False)


@contextmanager
def attention_as_on_a_gpu() -> Iterator[None]:
    """Inside it, `attend` takes the fused attention of a GPU on every device: to plan a training without one."""
    token = _FUSED_EVERYWHERE.set(True)
    try:
        yield
    finally:
        _FUSED_EVERYWHERE.reset(token)


def attend(
    query: Float[Tensor, "batch queries width"],
    key: Float[Tensor, "batch keys width"],
    value: Float[Tensor, "batch keys width"],
    bias: Float[Tensor, "batch 1 1 keys"] | None,
    heads: int,
) -> Float[Tensor, "batch queries width"]:
    """Multi-head attention; `bias` is added to the logits.

    On the CPU it is two matrix products and a softmax: the backward pass of scaled_dot_product_attention in bfloat16
    is slower there (docs/results/networks.md).
    """
    q, k, v = (tensor.unflatten(-1, (heads, -1)).transpose(1, 2) for tensor in (query, key, value))
    if query.device.type == "cpu" and not _FUSED_EVERYWHERE.get():
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        out = (logits if bias is None else logits.add_(bias)).softmax(dim=-1) @ v
    else:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    return out.transpose(1, 2).flatten(-2)


def attend_linearly(
    query: Float[Tensor, "batch queries width"],
    key: Float[Tensor, "batch keys width"],
    value: Float[Tensor, "batch keys width"],
    bias: Float[Tensor, "batch 1 1 keys"] | None,
    heads: int,
) -> Float[Tensor, "batch queries width"]:
    """Multi-head attention whose cost grows with queries + keys, not queries · keys (Shen et al. 2018, eq. 4).

    With a softmax over the features of each query and one over all keys for each feature, a query weighs key n by
    sum_d query[d] key[n, d]. These weights are positive and sum to 1. The sum over n is taken first. `bias` is added to
    all features of a key: one at -inf weighs exactly nothing.
    """
    q, k, v = (tensor.unflatten(-1, (heads, -1)).transpose(1, 2) for tensor in (query, key, value))
    k = (k if bias is None else k + bias.transpose(-1, -2)).softmax(dim=-2)
    summary = k.transpose(-1, -2) @ v  # (batch, heads, features, features)
    return (q.softmax(dim=-1) @ summary).transpose(1, 2).flatten(-2)


Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None, int], Tensor]
"""(query, key, value, bias, heads) -> what each query gets: `attend` or `attend_linearly`."""
