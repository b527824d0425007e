"""Files of embedded captions, to sample from without the text encoder.

A safetensors file with two tensors, as a shard of the embedding cache has them:

    values      (tokens, features), float32, float16 or bfloat16: the token vectors of all rows, one after the other
    lengths     (rows,), integers: how many of them belong to each row; 0 is the null text

Other tensors in the file are not read.
"""

from pathlib import Path

import torch
from torch import Tensor

from imagen.errors import UserError
from imagen.files import read_tensors, user_path, write_atomically
from imagen.text.embeddings import TextEmbeddings

VALUES, LENGTHS = "values", "lengths"
FORMAT = "an embeddings file has values (tokens, features) and lengths (rows,)"


def read_embeddings(path: str | Path) -> TextEmbeddings:
    """The rows of an embeddings file, in float32.

    Raises:
        UserError: if the file is missing or damaged, or does not hold the two tensors, or they do not fit each other.
    """
    from safetensors import SafetensorError

    path = user_path(path)
    try:
        _, tensors = read_tensors(path)
    except OSError as error:
        raise UserError(
            f"embeddings file {path} cannot be read: {error.strerror or error}; give another file"
        ) from None
    except SafetensorError as error:
        raise UserError(f"embeddings file {path} is not a whole safetensors file ({error}); write it again") from None
    for name in (VALUES, LENGTHS):
        if name not in tensors:
            names = ", ".join(sorted(tensors)[:5]) or "nothing"
            raise UserError(f"embeddings file {path} has no tensor {name!r} (it holds {names:.120}); {FORMAT}")
    values, lengths = tensors[VALUES], tensors[LENGTHS]
    if values.ndim != 2 or not values.is_floating_point():
        raise UserError(f"embeddings file {path}: values are {_kind(values)}; {FORMAT}")
    if lengths.ndim != 1 or lengths.dtype not in (torch.int32, torch.int64) or bool((lengths < 0).any()):
        raise UserError(f"embeddings file {path}: lengths are {_kind(lengths)}, or one is negative; {FORMAT}")
    if (total := int(lengths.sum())) != len(values):
        raise UserError(f"embeddings file {path}: lengths sum to {total}, values has {len(values)} rows; {FORMAT}")
    return TextEmbeddings(values.float(), tuple(lengths.tolist()))


def write_embeddings(embeddings: TextEmbeddings, path: str | Path) -> None:
    """Write an embeddings file, whole or not at all; values keep their dtype.

    Raises:
        UserError: when the disk does not take it.
    """
    from safetensors.torch import save

    tensors = {
        VALUES: embeddings.values.detach().cpu().contiguous(),
        LENGTHS: torch.tensor(embeddings.lengths, dtype=torch.int32),
    }
    write_atomically(user_path(path), save(tensors))


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
