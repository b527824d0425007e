"""What gives a decoder the embedding of a picture: the contract."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.unclip.vectors import VectorSignal
from imagen.stages.export import TrainedStage
from imagen.stages.unclip.clip import FrozenClip

PictureKey = tuple[int, int]
"""(seed, number) of a picture, on which its noise depends."""


class EmbeddingSource(ABC):
    """Gives each picture the signal `picture_embedding` of its decoder.

    `reads_captions` says whether it needs the captions' own vectors, the signal `caption_embedding`.
    """

    reads_captions: bool = True

    @abstractmethod
    def __call__(
        self, given: Conditioning, clip: FrozenClip, prior: TrainedStage | None, keys: Sequence[PictureKey]
    ) -> VectorSignal:
        """The embeddings.

        Args:
            given: `text` and `caption_embedding`, or `looked_at`; one row for each picture.
            clip: whose vectors the decoder reads.
            prior: of the cascade; None: it has none.
            keys: of the pictures.

        Raises:
            UserError: if what it needs is missing.
        """
