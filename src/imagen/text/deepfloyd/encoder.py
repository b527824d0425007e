"""T5 as DeepFloyd IF reads it: 77 vectors of every caption, those of the padding too."""

from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch

from imagen.files import user_path
from imagen.tensors import Text
from imagen.text.cached.making import stored
from imagen.text.deepfloyd.cleaning import cleaned
from imagen.text.embeddings import TextEmbeddings
from imagen.text.encoders import HuggingFaceEncoder
from imagen.text.model_files import is_folder
from imagen.text.pretrained import quiet_transformers
from imagen.text.tokens import check_unicode

ENCODER, TOKENIZER = "text_encoder", "tokenizer"
"""Sub-folders of a published pipeline."""

TOKENS = 77
"""Of a caption: what IF was trained with, and what its pipelines write into their code, for no file says it."""


class DeepFloydEncoder(HuggingFaceEncoder):
    """A T5 that pads each caption to `max_length` tokens. T5 attends to the caption alone; IF's networks attend to all
    of the vectors.

    An empty caption is the null text, zero tokens, as everywhere in this project; IF's networks put the vectors of the
    empty prompt there (`empty_prompt`).

    Args:
        path: folder of a published pipeline, with the sub-folders text_encoder and tokenizer; or a folder that holds
            the files of both; or the name of such a model on the hub.
        revision: as in `HuggingFaceEncoder`, and so are those below that are not named here.
        dtype: "float32" or "bfloat16".
        max_length: number of vectors of each caption.
        cleaning: clean captions as IF's training did (`cleaned`). False: as its pipelines do without cleaning, in lower
            case and without the spaces around.

    Raises:
        UserError: as `HuggingFaceEncoder`, and, with `cleaning`, if a package that it needs is missing.
    """

    keeps_padding: ClassVar[bool] = True

    def __init__(
        self,
        path: str | Path,
        revision: str | None = None,
        dtype: str = "float32",
        max_length: int = TOKENS,
        cleaning: bool = False,
        batch_size: int = 16,
        device: str = "auto",
        local_files_only: bool = True,
    ) -> None:
        super().__init__(path, revision, dtype, max_length, -1, batch_size, device, local_files_only)
        self.cleaning = cleaning

    @property
    def settings(self) -> dict[str, str | int]:
        return super().settings | {"padding": "kept", "captions": "cleaned" if self.cleaning else "lower case"}

    @cached_property
    def folder(self) -> Path:
        """Where the files of T5 are."""
        return _within(super().folder, ENCODER)

    @property
    def tokenizer_folder(self) -> Path:
        return _within(self.folder.parent, TOKENIZER) if self.folder.name == ENCODER else self.folder

    def __call__(self, captions: list[str]) -> TextEmbeddings:
        """As `HuggingFaceEncoder`, `max_length` vectors of each caption that is not empty."""
        check_unicode(captions)
        return super().__call__([self._prepared(caption) for caption in captions])

    def empty_prompt(self) -> Text:
        """The vectors of the empty prompt, rounded as all embeddings are: (1, max_length, features), float32."""
        with quiet_transformers(), torch.no_grad():
            vectors = torch.stack(self._encode([self._tokenizer("")["input_ids"]]))
        return stored(TextEmbeddings(vectors[0], (len(vectors[0]),))).values.float()[None]

    def _prepared(self, caption: str) -> str:
        return cleaned(caption) if self.cleaning else caption.lower().strip()


def is_pipeline(path: str | Path) -> bool:
    """Whether `path` is the folder of a published pipeline that holds a text encoder."""
    return is_folder(user_path(path) / ENCODER)


def _within(folder: Path, name: str) -> Path:
    return folder / name if (folder / name).is_dir() else folder
