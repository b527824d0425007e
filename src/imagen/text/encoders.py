"""Frozen text encoders, from captions to token vectors."""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from imagen.errors import UserError
from imagen.text.embeddings import TextEmbeddings
from imagen.text.model_files import hash_files, read_json, resolve_folder, tokenizer_files, weights_files
from imagen.text.pretrained import load_pretrained, quiet_transformers
from imagen.text.tokens import EncodingCounts, tokenise

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# Families whose encoder is a part of a larger model. AutoModel loads the others (BERT, MiniLM, ...).
ENCODER_CLASSES = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "clip": "CLIPTextModel",
    "clip_text_model": "CLIPTextModel",
}


class TextEncoder(ABC):
    """Turns captions into token vectors. Cheap to construct and to pickle: weights are read with the first caption."""

    @property
    @abstractmethod
    def features(self) -> int:
        """Width of a token vector."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, str | int]:
        """The part of `fingerprint` that is known without the encoder's files."""

    @property
    @abstractmethod
    def fingerprint(self) -> dict[str, str | int]:
        """Everything that decides which vectors come out, and nothing else: no path, no device, no batch size.

        Raises:
            MissingModelError: if the encoder's files are not on this machine.
        """

    @abstractmethod
    def __call__(self, captions: list[str]) -> TextEmbeddings:
        """The embeddings of each caption, in order."""

    @abstractmethod
    def take_counts(self) -> EncodingCounts:
        """Counts over the captions encoded since the last call."""


class HuggingFaceEncoder(TextEncoder):
    """An encoder of the transformers library: T5, flan-T5, BERT, MiniLM, the text half of CLIP, what AutoModel loads.

    Frozen, in evaluation mode, without gradients. The constructor touches no file; weights are read with the first
    caption. Only safetensors are read, and no code that came with a model is run.

    Args:
        path: a folder with config.json, safetensors weights and tokenizer, or the name of a model on the hub.
        revision: of the hub model; for a folder, a label that enters the fingerprint.
        dtype: "float32" or "bfloat16". float16 is refused: T5 overflows in it.
        max_length: largest number of tokens kept; longer captions are cut, and counted.
        layer: -1 for the encoder's output, -2 for the penultimate layer (Imagen's choice for CLIP), and so on.
        batch_size: captions per pass.
        device: "auto" (a GPU if there is one), "cpu", "cuda", ...
        local_files_only: never open a connection. False lets the hub's client fetch what is missing.

    Raises:
        UserError: for a dtype, length or layer out of range; on first use, if files are missing or damaged.
    """

    keeps_padding: ClassVar[bool] = False
    """Whether captions are padded to `max_length` tokens, and the vectors of the padding kept."""

    def __init__(
        self,
        path: str | Path,
        revision: str | None = None,
        dtype: str = "float32",
        max_length: int = 128,
        layer: int = -1,
        batch_size: int = 64,
        device: str = "auto",
        local_files_only: bool = True,
    ) -> None:
        if dtype not in DTYPES:
            raise UserError(f"text encoder dtype '{dtype}': use float32 or bfloat16 (T5 overflows in float16)")
        for name, value in (("max_length", max_length), ("batch_size", batch_size)):
            if value < 1:
                raise UserError(f"text encoder {name} {value}: must be at least 1")
        if layer >= 0:
            raise UserError(f"text encoder layer {layer}: layers are counted from the end, -1 is the output")
        self.path, self.revision, self.local_files_only = str(path), revision, local_files_only
        self.dtype, self.max_length, self.layer = dtype, max_length, layer
        self.batch_size, self._device = batch_size, device
        self.counts = EncodingCounts(max_length)

    @property
    def settings(self) -> dict[str, str | int]:
        return {
            "revision": self.revision or "none",
            "max_length": self.max_length,
            "dtype": self.dtype,
            "layer": self.layer,
        }

    @cached_property
    def fingerprint(self) -> dict[str, str | int]:
        """The `settings`, the sha256 of config.json and the weights, and that of the tokenizer's files. Reads the files
        but builds no model."""
        model = hash_files([self.folder / "config.json", *weights_files(self.folder)])
        return self.settings | {"model": model, "tokenizer": hash_files(tokenizer_files(self.tokenizer_folder))}

    @cached_property
    def folder(self) -> Path:
        """Where the files are on this machine."""
        return resolve_folder(self.path, self.revision, self.local_files_only)

    @property
    def tokenizer_folder(self) -> Path:
        """Where the tokenizer's files are."""
        return self.folder

    @cached_property
    def features(self) -> int:
        width = self._config.get("d_model") or self._config.get("hidden_size")
        if not isinstance(width, int):
            raise UserError(f"{self.folder}/config.json: no 'd_model' or 'hidden_size' tells the width of a vector")
        return width

    @property
    def device(self) -> torch.device:
        """Where the encoder runs."""
        if self._device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self._device)

    def __call__(self, captions: list[str]) -> TextEmbeddings:
        """Values in the encoder's dtype, on the CPU; no tokens for an empty caption.

        Captions are batched by length, which keeps padding short. The other captions of a batch change a vector only
        by rounding.

        Raises:
            UserError: for captions that are not Unicode text, missing or damaged files, vectors that are not finite.
        """
        with quiet_transformers():
            return self._embeddings(captions)

    def _embeddings(self, captions: list[str]) -> TextEmbeddings:
        tokens = tokenise(self._tokenizer, captions, self.max_length, self.counts)
        order = sorted((row for row, ids in enumerate(tokens) if ids), key=lambda row: len(tokens[row]))
        nothing = torch.zeros(0, self.features, dtype=DTYPES[self.dtype])
        rows = [nothing] * len(tokens)
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            for row, vectors in zip(chosen, self._encode([tokens[row] for row in chosen]), strict=True):
                rows[row] = vectors
        values = torch.cat([nothing, *rows])
        if not values.isfinite().all():
            raise UserError(f"text encoder {self.path}: vectors are not finite in {self.dtype}; use dtype=float32")
        return TextEmbeddings(values, tuple(map(len, rows)))

    def take_counts(self) -> EncodingCounts:
        counts, self.counts = self.counts, EncodingCounts(self.max_length)
        return counts

    def __getstate__(self) -> dict[str, Any]:
        # Another process reads the weights itself.
        return {name: value for name, value in self.__dict__.items() if name not in ("_model", "_tokenizer")}

    @torch.no_grad()
    def _encode(self, tokens: list[list[int]]) -> list[Tensor]:
        """The vectors of each caption, (its tokens, features), on the CPU."""
        padding = self._tokenizer.pad_token_id
        shape = (len(tokens), self.max_length if self.keeps_padding else max(map(len, tokens)))
        ids = torch.full(shape, padding if isinstance(padding, int) else 0)
        mask = torch.zeros_like(ids)
        for row, caption in enumerate(tokens):
            ids[row, : len(caption)] = torch.tensor(caption)
            mask[row, : len(caption)] = 1
        inputs = {"input_ids": ids.to(self._model.device), "attention_mask": mask.to(self._model.device)}
        if self.layer == -1:
            vectors = self._model(**inputs).last_hidden_state
        else:
            states = self._model(**inputs, output_hidden_states=True).hidden_states
            if -self.layer > len(states):
                raise UserError(
                    f"text encoder layer {self.layer}: {self.path} has {len(states)}; the first is the input"
                )
            vectors = states[self.layer]
        rows = vectors.cpu()
        return list(rows) if self.keeps_padding else [row[: len(ids)] for row, ids in zip(rows, tokens, strict=True)]

    @cached_property
    def _config(self) -> dict[str, Any]:
        """config.json; of CLIP, with the values of its text half."""
        config = read_json(self.folder / "config.json")
        text = config.get("text_config")
        return config | text if isinstance(text, dict) else config

    @cached_property
    def _tokenizer(self) -> "PreTrainedTokenizerFast":
        from transformers import AutoTokenizer

        tokenizer_files(self.tokenizer_folder)
        longest = self._config.get("max_position_embeddings")
        if isinstance(longest, int) and self.max_length > longest:
            raise UserError(
                f"text encoder max_length {self.max_length}: {self.path} reads at most {longest} tokens; "
                f"set text.encoder.max_length={longest}"
            )
        alone = self.tokenizer_folder != self.folder
        return load_pretrained(AutoTokenizer, self.tokenizer_folder, alone=alone)

    @cached_property
    def _model(self) -> "PreTrainedModel":
        weights_files(self.folder)
        leaf = encoder_class(read_json(self.folder / "config.json"))
        model, report = load_pretrained(
            leaf, self.folder, dtype=DTYPES[self.dtype], use_safetensors=True, output_loading_info=True
        )
        # transformers fills missing weights with random numbers. The pooler is not used here.
        absent = sorted(name for name in report["missing_keys"] if "pooler" not in name)
        if absent:
            raise UserError(f"{self.folder}: {len(absent)} weights are missing, first {absent[0]}; restore the file")
        return model.eval().requires_grad_(False).to(self.device)


def encoder_class(config: dict[str, Any]) -> "type[PreTrainedModel]":
    """The transformers class that loads the encoder of a model with this config.json."""
    import transformers

    return getattr(transformers, ENCODER_CLASSES.get(config.get("model_type", ""), "AutoModel"))
