"""What a denoiser is told besides the noisy image: signals, each with a name."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from imagen.devices import moved
from imagen.diffusion.noise_level import NoiseLevel
from imagen.errors import UserError
from imagen.tensors import Images, Size, Text, TextMask

OtherSizeImages = Float[Tensor, "batch channels other_height other_width"]
"""Images of the same batch as `Images`, but not of the same size."""


Kind = TypeVar("Kind", bound="Signal")


@dataclass(frozen=True)
class Signal(ABC):
    """One thing that a denoiser is told. Subclasses are frozen dataclasses of tensors whose first axis is the batch."""

    @abstractmethod
    def null(self) -> "Signal":
        """The signal that stands for the absence of this one, of the same shape."""

    def drop(self: Kind, images: Bool[Tensor, "batch"]) -> Kind:
        """`null` for the images where `images` is True, unchanged for the others."""

        def choose(null: Tensor, kept: Tensor) -> Tensor:
            return torch.where(images.reshape(-1, *[1] * (kept.ndim - 1)), null, kept)

        return map_tensors(choose, self.null(), self)

    def concat(self, other: "Signal") -> "Signal":
        """Both batches, one after the other."""
        return map_tensors(lambda *pair: torch.cat(pair), self, other)

    def take(self: Kind, rows: slice | Sequence[int]) -> Kind:
        """The same signal for some of the images."""
        return map_tensors(lambda tensor: tensor[rows], self)

    def crop(self, canvas: Size, rows: slice, columns: slice) -> "Signal":
        """What a window of the pictures is told, pictures of the size `canvas`: all of it, unless it has pixels."""
        del canvas, rows, columns
        return self

    def __len__(self) -> int:
        """Number of images."""
        return len(getattr(self, fields(self)[0].name))


class Conditioning(dict[str, Any]):
    """The signals of a batch by name, for example `Conditioning(text=TextSignal(...), low_res=LowResImage(...))`.

    A network reads the signals it knows. `Conditioning(conditioning, text=other)` is a copy with another text.
    """

    def __missing__(self, name: str) -> Any:
        raise UserError(f"there is no signal {name!r} here, only {', '.join(self) or 'none at all'}")

    def without(self, *names: str) -> "Conditioning":
        """The named signals replaced by their `null`: for guidance."""
        return Conditioning(self, **{name: self[name].null() for name in names})

    def drop(self, name: str, images: Bool[Tensor, "batch"]) -> "Conditioning":
        """The named signal dropped for the images where `images` is True: in training, so that guidance is possible."""
        return Conditioning(self, **{name: self[name].drop(images)})

    def concat(self, other: "Conditioning") -> "Conditioning":
        """Both batches, one after the other, so that one pass of the network serves them.

        Raises:
            ValueError: if they do not have the same signals.
        """
        if self.keys() != other.keys():
            raise ValueError(f"cannot concatenate the signals {sorted(self)} and {sorted(other)}")
        return Conditioning({name: signal.concat(other[name]) for name, signal in self.items()})

    def take(self, rows: slice | Sequence[int]) -> "Conditioning":
        """The same signals for some of the images."""
        return Conditioning({name: signal.take(rows) for name, signal in self.items()})

    def crop(self, canvas: Size, rows: slice, columns: slice) -> "Conditioning":
        """The signals of a window of the pictures, pictures of the size `canvas`."""
        return Conditioning({name: signal.crop(canvas, rows, columns) for name, signal in self.items()})

    def to(self, device: torch.device | str) -> "Conditioning":
        """The same signals on another device."""
        return Conditioning({name: map_tensors(lambda t: moved(t, device), signal) for name, signal in self.items()})


@dataclass(frozen=True)
class TextSignal(Signal):
    """Embedded captions; `values` are zero wherever `mask` is False. A mask that is False everywhere means no text.

    Args:
        without: what stands for "no text": the embedding of "" or of a negative prompt, as many tokens as `values`.
            None is the paper's choice: zeros, and a mask that is False everywhere. A network that learns a vector for
            "no text" puts it where the mask is False everywhere.

    Raises:
        ValueError: if `without` has another shape than `values`.
    """

    values: Text
    mask: TextMask
    without: "TextSignal | None" = None

    def __post_init__(self) -> None:
        if self.without is not None and self.without.values.shape != self.values.shape:
            shapes = tuple(self.values.shape), tuple(self.without.values.shape)
            raise ValueError(f"text is of shape {shapes[0]} and its `without` of {shapes[1]}; pad both alike")

    @classmethod
    def none(cls, batch: int, features: int) -> "TextSignal":
        """No text for `batch` images: no tokens at all."""
        return cls(torch.zeros(batch, 0, features), torch.zeros(batch, 0, dtype=torch.bool))

    def null(self) -> "TextSignal":
        if self.without is not None:
            return replace(self.without, without=self.without)
        return TextSignal(torch.zeros_like(self.values), torch.zeros_like(self.mask))

    def padded(self, multiple: int) -> "TextSignal":
        """The same text, padded with masked tokens to a multiple of `multiple` tokens."""
        missing = -self.values.shape[1] % multiple
        without = None if self.without is None else self.without.padded(multiple)
        return TextSignal(F.pad(self.values, (0, 0, 0, missing)), F.pad(self.mask, (0, missing)), without)


@dataclass(frozen=True)
class ImageSignal(Signal):
    """Plain images in [-1, 1], of any size. Without them, mid-grey."""

    images: Images

    def null(self) -> "ImageSignal":
        return ImageSignal(torch.zeros_like(self.images))

    def crop(self, canvas: Size, rows: slice, columns: slice) -> "ImageSignal":
        return ImageSignal(resize(self.images, canvas)[..., rows, columns])


@dataclass(frozen=True)
class LowResImage(Signal):
    """A smaller image, resized to the resolution of the stage and noised to `level`. Without it, mid-grey."""

    image: Images
    level: NoiseLevel

    @classmethod
    def augment(
        cls, image: OtherSizeImages, level: NoiseLevel, eps: Images, align_corners: bool = False
    ) -> "LowResImage":
        """Noise conditioning augmentation (Imagen, section 2.4), the same call in training and in sampling.

        Args:
            image: low-resolution images in [-1, 1]; they are enlarged to the size of `eps`.
            level: how much noise to add (`aug_level` as a point on a noise schedule).
            eps: standard normal noise, of the size of the stage's images.
            align_corners: resize by `enlarge_between_corners`, as DeepFloyd IF.
        """
        height, width = eps.shape[-2:]
        larger = enlarge_between_corners(image, (height, width)) if align_corners else resize(image, (height, width))
        return cls(level.add_noise(larger, eps), level)

    def null(self) -> "LowResImage":
        return LowResImage(torch.zeros_like(self.image), self.level)

    def crop(self, canvas: Size, rows: slice, columns: slice) -> "LowResImage":
        return LowResImage(self.image[..., rows, columns], self.level)


def map_tensors(function: Callable[..., Tensor], *values: Any) -> Any:
    """Apply `function` to the tensors of the same field of each of `values`, which are dataclasses of one class."""
    first = values[0]
    if not is_dataclass(first) or isinstance(first, type):
        return None if first is None else function(*values)
    return replace(
        first, **{f.name: map_tensors(function, *(getattr(value, f.name) for value in values)) for f in fields(first)}
    )


def resize(images: Images, size: Size | int) -> OtherSizeImages:
    """Bilinear resize to (height, width), or to a square; antialiased where it makes images smaller. Every resize of
    tensors in the project but `enlarge_between_corners`."""
    size = (size, size) if isinstance(size, int) else size
    if images.shape[-2:] == torch.Size(size):
        return images
    return F.interpolate(images.float(), size=size, mode="bilinear", antialias=True)


def enlarge_between_corners(images: Images, size: Size) -> OtherSizeImages:
    """Bilinear resize that maps the middles of the corner pixels onto each other (align_corners=True)."""
    return F.interpolate(images.float(), size=size, mode="bilinear", align_corners=True)
