"""Shapes of the tensors that travel between packages, checked in the test run with beartype."""

from jaxtyping import Bool, Float, Int64
from torch import Tensor

Images = Float[Tensor, "batch channels height width"]
"""Images, float32 in [-1, 1], or noise of that shape."""

PerImage = Float[Tensor, "batch"]
"""One number for each image."""

BroadcastPerImage = Float[Tensor, "batch 1 1 1"]
"""One number for each image, shaped so that it multiplies `Images` and nothing else."""

Text = Float[Tensor, "batch tokens features"]
"""Text embeddings, zero where `TextMask` is False."""

TextMask = Bool[Tensor, "batch tokens"]
"""True where there is a token."""

Ids = Int64[Tensor, "batch"]
"""Indices of examples in their source."""
