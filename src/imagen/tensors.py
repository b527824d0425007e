"""Shapes of the tensors that pass between packages; beartype checks them in the tests."""

from jaxtyping import Bool, Float, Float64, Int64, UInt8
from torch import Tensor

Size = tuple[int, int]
"""Height and width of an image, in pixels."""

Images = Float[Tensor, "batch channels height width"]
"""Images, float32 in [-1, 1], or noise of that shape."""

PerImage = Float[Tensor, "batch"]
"""One number per image."""

BroadcastPerImage = Float[Tensor, "batch 1 1 1"]
"""One number per image, in a shape that broadcasts over `Images` only."""

Text = Float[Tensor, "batch tokens features"]
"""Text embeddings, zero where `TextMask` is False."""

TextMask = Bool[Tensor, "batch tokens"]
"""True where there is a token."""

Vectors = Float[Tensor, "batch features"]
"""One vector per image."""

Ids = Int64[Tensor, "batch"]
"""Indices of examples in their source."""

Pixels = UInt8[Tensor, "batch height width 3"]
"""Pictures as stored in files: 0 to 255, channels last."""

Features = Float[Tensor, "batch features"]
"""One feature vector per picture or caption, float32, on the CPU."""

ReferenceFeatures = Float[Tensor, "reference features"]
"""Features of the reference pictures."""

Features64 = Float64[Tensor, "batch features"]
"""Features in double precision, in which all statistics are computed."""
