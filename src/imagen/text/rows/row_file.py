"""The file of the embedded captions of one row of a data set, which lies beside its picture.

A safetensors file as `imagen.text.embedding_file` reads it, with the keys of the embedding cache beside the vectors:

    values      (tokens, features) bfloat16: the token vectors of all captions of the row, one after the other
    lengths     (captions,) int32: how many of them belong to each caption; 0 is the null text
    digests     (captions, 16) uint8: the first half of the sha256 of each caption
    metadata    {"fingerprint": the fingerprint of the encoder, as JSON}
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from imagen.checks.foreign import parse_json
from imagen.errors import UserError
from imagen.text.cached.store import DIGEST_BYTES, digests
from imagen.text.embeddings import TextEmbeddings
from imagen.text.record import differences

MAX_HEADER = 1 << 16
"""Bytes. The header of such a file has about 500."""

WAY_OUT = "write the shards again with `imagen shards`, or set text.mode=cached"


def row_file(captions: Sequence[str], embeddings: TextEmbeddings, fingerprint: Mapping[str, str | int]) -> bytes:
    """The file of a row: the same bytes for the same captions, vectors and encoder. Vectors are rounded to bfloat16."""
    from safetensors.torch import save

    assert len(captions) == len(embeddings)
    tensors = {
        "values": embeddings.values.to(torch.bfloat16).contiguous(),
        "lengths": torch.tensor(embeddings.lengths, dtype=torch.int32),
        "digests": torch.from_numpy(digests(captions).copy()),
    }
    return save(tensors, {"fingerprint": json.dumps(dict(fingerprint), sort_keys=True)})


def fingerprint_in(content: bytes, where: str) -> dict[str, str | int]:
    """The fingerprint of the encoder that made a row's file.

    Raises:
        UserError: naming `where`, if the file is damaged.
    """
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= min(MAX_HEADER, len(content) - 8):
        raise UserError(f"{where}: not a whole safetensors file of embedded captions; {WAY_OUT}")
    try:
        return _fingerprint_in_header(content[8 : 8 + length])
    except UserError as error:
        raise UserError(f"{where}: {error}; {WAY_OUT}") from None


@lru_cache(maxsize=1024)
def _fingerprint_in_header(header: bytes) -> dict[str, str | int]:
    """Rows with as many captions and tokens have the same header, so most are known."""
    value = parse_json(header, "the header", "it is damaged")
    metadata = value.get("__metadata__") if isinstance(value, dict) else None
    text = metadata.get("fingerprint") if isinstance(metadata, dict) else None
    found = parse_json(text, "the fingerprint", "it is damaged") if isinstance(text, str) else None
    if not isinstance(found, dict) or not all(isinstance(value, str | int) for value in found.values()):
        raise UserError("does not say which text encoder made it")
    return found


def refuse_other_encoder(
    found: Mapping[str, str | int], wanted: Mapping[str, str | int], where: str, name: str = "text encoder"
) -> None:
    """Raises UserError, naming `where` and what differs, if two fingerprints are not equal."""
    if dict(found) != dict(wanted):
        different = differences(found, wanted, between=" there, in the configuration ")
        raise UserError(f"{where}: embedded by another {name} ({different:.300}); {WAY_OUT}, or choose that encoder")


@dataclass(frozen=True)
class RowReader:
    """Finds the vectors of a caption in the file of its row, which may come from somebody else.

    Args:
        fingerprint: of the encoder that must have made it.
        features: width of a token vector.
    """

    fingerprint: Mapping[str, str | int]
    features: int

    def read(self, content: bytes | None, caption: str, where: str) -> Float[Tensor, "tokens features"]:
        """The token vectors of `caption` in bfloat16, as they were stored.

        Raises:
            UserError: naming `where`, if there is no file or it is damaged, was made by another encoder or of other
                captions, or its vectors have another width or are not finite.
        """
        if content is None:
            raise UserError(f"{where}: no embedded captions are read with its picture; {WAY_OUT}")
        where = f"{where}, embedded captions"
        refuse_other_encoder(fingerprint_in(content, where), self.fingerprint, where)
        values, lengths, keys = self._tensors(content, where)
        wanted = digests([caption]).tobytes()
        number = next(
            (n for n in range(len(lengths)) if keys[n * DIGEST_BYTES : (n + 1) * DIGEST_BYTES] == wanted), None
        )
        if number is None:
            raise UserError(f"{where}: {caption[:80]!r} is not among the {len(lengths)} that were embedded; {WAY_OUT}")
        start = sum(lengths[:number])
        vectors = values[start : start + lengths[number]].clone()  # not a view, which would keep the others
        if not vectors.isfinite().all():
            raise UserError(f"{where}: the vectors of {caption[:80]!r} are not finite; {WAY_OUT}")
        return vectors

    def _tensors(self, content: bytes, where: str) -> tuple[Tensor, list[int], bytes]:
        """Values, lengths and digests, which fit each other."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            tensors = load(content)
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
            said = " ".join(str(error).split())
            raise UserError(f"{where}: not a whole safetensors file ({said:.120}); {WAY_OUT}") from None
        found = {name: (tensors[name].dtype, tuple(tensors[name].shape)) for name in tensors}
        captions = found["lengths"][1][0] if found.get("lengths", (None, ()))[1] else 0
        wanted = {"lengths": (torch.int32, (captions,)), "digests": (torch.uint8, (captions, DIGEST_BYTES))}
        rows = found["values"][1][0] if found.get("values", (None, ()))[1] else 0
        wanted["values"] = torch.bfloat16, (rows, self.features)
        for name, (kind, shape) in wanted.items():
            if found.get(name) != (kind, shape):
                has = "is missing" if name not in found else f"is {found[name][0]} of shape {found[name][1]}"
                raise UserError(f"{where}: {name} {has}, not {kind} of shape {shape}; {WAY_OUT}")
        lengths: list[int] = tensors["lengths"].tolist()
        if min(lengths, default=0) < 0 or sum(lengths) != rows:
            raise UserError(f"{where}: lengths sum to {sum(lengths)}, values has {rows} rows; {WAY_OUT}")
        return tensors["values"], lengths, tensors["digests"].numpy().tobytes()
