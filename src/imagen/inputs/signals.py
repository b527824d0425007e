"""What a cascade is told of captions, as signals."""

from collections.abc import Callable, Sequence

import torch

from imagen.diffusion.conditioning import Conditioning, TextSignal
from imagen.diffusion.unclip.vectors import CAPTION_EMBEDDING
from imagen.errors import UserError
from imagen.inputs.captions import PromptsOrEmbeddings
from imagen.inputs.negative import told_against
from imagen.stages.unclip.clip import FrozenClip
from imagen.text.embeddings import TextEmbeddings
from imagen.text.sources import TextSource


def caption_signals(
    text: PromptsOrEmbeddings,
    source: Callable[[], TextSource],
    negative: Sequence[str | None] | None,
    clip: FrozenClip | None,
    device: torch.device,
) -> Conditioning:
    """The signal `text`, and `caption_embedding` if there is a `clip` that makes it.

    Args:
        text: a caption or an embedded caption for each picture.
        source: gives the source of embeddings; not asked for where the captions come embedded.
        negative: what to steer each picture away from; None: nothing.
        clip: whose vectors of the captions are needed; None: none are.
        device: of these vectors.

    Raises:
        UserError: for embedded captions where vectors of captions are needed.
    """
    embeddings = text if isinstance(text, TextEmbeddings) else source().embed(text)
    signal = TextSignal(*embeddings.pad())
    if negative is not None and any(one is not None for one in negative):
        signal = told_against(signal, negative, source())
    if clip is None:
        return Conditioning(text=signal)
    if isinstance(text, TextEmbeddings):
        raise UserError("embeddings: unCLIP also reads CLIP's vector of the caption; give prompts instead")
    return Conditioning(text=signal, **{CAPTION_EMBEDDING: clip.captions(text, device)})
