"""Decides which numbers may have a published name.

`fid`, `fd_dinov2` and `clip_score` promise a certain network, weights, tokenizer and preprocessing. They are used only
if the hash of every loaded file and the preprocessing are the known ones. Any other number is named after its judge; a
judge whose name looks like a published one also gets its hash in the name.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

from imagen.checks.names import checked_name
from imagen.clip.preprocessing import ClipPreprocessing
from imagen.files import fingerprint

Files = Mapping[str, str]
"""The sha256 of each file of a judge, by file name."""

INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""pt_inception-2015-12-05-6726825d.pth: the usual PyTorch port of the Inception network of Heusel et al. (2017)."""

DINOV2_L14 = {
    "config.json": "12df51c069a2dc1305e34ba71ef58bc2407ea553b75f4722a1715c1bce3bbed0",
    "model.safetensors": "399fba97a95f22c36834418bc69373364a99af3a1153da1c0fb31db567c92e23",
}
"""facebook/dinov2-large at revision 47b73eefe95e8d44ec3623f8890bd894b6ea2d6c."""

CLIP_L14 = {
    "config.json": "8a09b467700c58138c29d53c605b34ebc69beaadd13274a8a2af8ad2c2f4032a",
    "merges.txt": "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a",
    "special_tokens_map.json": "f8c0d6c39aee3f8431078ef6646567b0aba7f2246e9c54b8b99d55c22b707cbf",
    "tokenizer.json": "a83e0809aa4c3af7208b2df632a7a69668c6d48775b3c3fe4e1b1199d1f8b8f4",
    "tokenizer_config.json": "deef455e52fa5e8151e339add0582e4235f066009601360999d3a9cda83b1129",
    "vocab.json": "3f0c4f7d2086b61b38487075278ea9ed04edb53a03cbb045b86c27190fa8fb69",
}
"""openai/clip-vit-large-patch14 at revision 32bd64288804d66eefd0ccbe215aa642df71cc41, without its weights."""

CLIP_L14_WEIGHTS = {
    "model.safetensors": "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
    "pytorch_model.bin": "f1a17cdbe0f36fec524f5cafb1c261ea3bbbc13e346e0f74fc9eb0460dedd0d3",
}
"""The two known weights files; either is accepted."""

OPENAI_PREPROCESSING = ClipPreprocessing(
    shortest_edge=224,
    crop=224,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)

PUBLISHED: dict[str, list[Files]] = {
    "inception": [{"weights": INCEPTION_SHA256}],
    "inception-clean": [{"weights": INCEPTION_SHA256}],
    "dinov2": [DINOV2_L14],
    "clip-vit-large-patch14": [CLIP_L14 | {name: sha256} for name, sha256 in CLIP_L14_WEIGHTS.items()],
}
"""The files of the judges of published numbers."""

RESERVED = ("fid", "kid", "cmmd", "mind", "clip", "inception", "dino", "vitl14", "vqa", "tifa", "geneval", "dpg")
"""Parts of the names of published numbers and their judges, in lower case, letters and digits only."""

CLIP_SCORE = "clip_score"

NAMED_BY_HASH = re.compile(r":[0-9a-f]{8}$")


class ExtractorNames(NamedTuple):
    """The names of an extractor and its Fréchet distance, and the suffix of its other keys."""

    name: str
    fidelity_key: str
    suffix: str


class ClipNames(NamedTuple):
    """The names of a judge and its two numbers, and the factor of its mean cosine under that name."""

    name: str
    fidelity_key: str
    alignment_key: str
    alignment_scale: float


def clip_names(name: str, files: Files, preprocessing: ClipPreprocessing) -> ClipNames:
    """`clip_score` (100 · cosine) for the known CLIP; `align[name]` (raw cosine) for any other judge.

    Raises:
        UserError: if `name` is not valid in file names.
    """
    checked_name(name, "metrics.judges: name")
    published = "clip-vit-large-patch14"
    if files in PUBLISHED[published] and same_preprocessing(preprocessing, OPENAI_PREPROCESSING):
        return ClipNames(published, f"fd[{published}]", CLIP_SCORE, 100.0)
    honest = hashed(name, fingerprint(dict(files))) if looks_published(name) else name
    return ClipNames(honest, f"fd[{honest}]", f"align[{honest}]", 1.0)


def inception_names(weights_sha256: str, published: ExtractorNames) -> ExtractorNames:
    """`published` for the known weights (the class fixes the resize); other weights get their hash in every name."""
    return published if weights_sha256 == INCEPTION_SHA256 else _named_by_hash(published.name, weights_sha256)


def dinov2_names(files: Files) -> ExtractorNames:
    """`fd_dinov2` for the known ViT-L/14 (the class fixes the preprocessing), else `fd[dinov2:<hash8>]`."""
    if files in PUBLISHED["dinov2"]:
        return ExtractorNames("dinov2", "fd_dinov2", "_dinov2")
    return _named_by_hash("dinov2", fingerprint(dict(files)))


def answerer_name(name: str, files: Files) -> str:
    """The name of a judge that answers questions, which ends the keys of its numbers (`vqa[name]`). No files are known
    as those of a published one, so a name that looks published always gets the hash of `files`.

    Raises:
        UserError: if `name` is not valid in file names.
    """
    checked_name(name, "metrics.judges: name")
    return hashed(name, fingerprint(dict(files))) if looks_published(name) else name


def hashed(name: str, sha256: str) -> str:
    """`name` with a hash, so that nobody takes it for a published one."""
    return f"{name}:{sha256[:8]}"


def looks_published(name: str) -> bool:
    """Whether somebody could take a judge of that name for a published one.

    Examples:
        >>> [looks_published(name) for name in ("f.i.d", "CLIP ViT-L/14", "Inception-v3", "shapes-judge-a")]
        [True, True, True, False]
    """
    plain = "".join(sign for sign in unicodedata.normalize("NFKC", name).casefold() if sign.isalnum())
    return any(word in plain for word in RESERVED)


def same_preprocessing(one: ClipPreprocessing, other: ClipPreprocessing) -> bool:
    """Whether both are equal up to the rounding of decimals in a configuration file."""
    numbers = [(*p.mean, *p.std, p.scale) for p in (one, other)]
    close = all(abs(a - b) < 1e-6 for a, b in zip(*numbers, strict=True))
    return close and (one.shortest_edge, one.crop) == (other.shortest_edge, other.crop)


def _named_by_hash(name: str, sha256: str) -> ExtractorNames:
    honest = hashed(name, sha256)
    return ExtractorNames(honest, f"fd[{honest}]", f"[{honest}]")
