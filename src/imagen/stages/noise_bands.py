"""Training loss by noise level: it shows at which levels a stage still learns."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from imagen.tensors import PerImage

EDGES = (-6.0, -2.0, 2.0, 6.0)
"""log-SNR at which one band ends and the next begins."""

NAMES = ("below_-6", "-6_to_-2", "-2_to_2", "2_to_6", "above_6")


class BandedMean(nn.Module):
    """Mean of a per-image quantity in each band of log-SNR, accumulated without leaving the device."""

    edges: Tensor
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("edges", torch.tensor(EDGES), persistent=False)
        self.register_buffer("total", torch.zeros(len(NAMES)), persistent=False)
        self.register_buffer("count", torch.zeros(len(NAMES)), persistent=False)

    @torch.no_grad()
    def update(self, values: PerImage, log_snr: PerImage) -> None:
        """Add the value of each image."""
        band = torch.bucketize(log_snr, self.edges)
        self.total.index_add_(0, band, values.detach().float())
        self.count.index_add_(0, band, torch.ones_like(values, dtype=torch.float32))

    def pop(self, add_up: Callable[[Tensor], Tensor] = torch.clone) -> dict[str, Tensor]:
        """The mean of each band that has had an image since the last call. `add_up` gives the sum of a tensor over all
        processes."""
        totals, counts = add_up(self.total), add_up(self.count)
        means = {name: total / count for name, total, count in zip(NAMES, totals, counts, strict=True) if count > 0}
        self.total.zero_()
        self.count.zero_()
        return means
