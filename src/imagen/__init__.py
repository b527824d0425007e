"""Imagen: text-to-image diffusion cascades. `from imagen import TextToImage` is the library's front door."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagen.sampling.text_to_image import TextToImage

__all__ = ["TextToImage"]


def __getattr__(name: str) -> Any:
    """`TextToImage`, imported when it is first asked for: it needs torch, and `import imagen` does not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from imagen.sampling.text_to_image import TextToImage

    return TextToImage
