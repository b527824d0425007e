"""Which numbers may carry a published name.

`fid` and `clip_score` are promises: this network, these weights, this preprocessing. They are given only when the hash
of the weights and the preprocessing are the known ones; anything else is named after its judge and its hash.
"""

from typing import NamedTuple

from imagen.evaluation.preprocessing import ClipPreprocessing

INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""pt_inception-2015-12-05-6726825d.pth: the Inception network of Heusel et al. (2017), as everyone ports it."""

DINOV2_L14_SHA256 = "399fba97a95f22c36834418bc69373364a99af3a1153da1c0fb31db567c92e23"
"""model.safetensors of facebook/dinov2-large at revision 47b73eefe95e8d44ec3623f8890bd894b6ea2d6c."""

CLIP_L14_SHA256 = {
    "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",  # model.safetensors
    "f1a17cdbe0f36fec524f5cafb1c261ea3bbbc13e346e0f74fc9eb0460dedd0d3",  # pytorch_model.bin
}
"""openai/clip-vit-large-patch14 at revision 32bd64288804d66eefd0ccbe215aa642df71cc41."""

OPENAI_PREPROCESSING = ClipPreprocessing(
    shortest_edge=224,
    crop=224,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)

RESERVED = ("fid", "clip", "clip_score", "clip-vit-large-patch14", "inception", "inception-clean", "dinov2")


class ClipNames(NamedTuple):
    """What a judge and its two numbers are called, and what its mean cosine is multiplied by under that name."""

    name: str
    fidelity_key: str
    alignment_key: str
    alignment_scale: float


def clip_names(name: str, weights_sha256: str, preprocessing: ClipPreprocessing) -> ClipNames:
    """`clip_score` (100 · cosine) for the known CLIP; `align[name]` (raw cosine) for any other judge."""
    if weights_sha256 in CLIP_L14_SHA256 and same_preprocessing(preprocessing, OPENAI_PREPROCESSING):
        return ClipNames("clip-vit-large-patch14", "fd[clip-vit-large-patch14]", "clip_score", 100.0)
    honest = f"{name}:{weights_sha256[:8]}" if name.lower() in RESERVED else name
    return ClipNames(honest, f"fd[{honest}]", f"align[{honest}]", 1.0)


def inception_key(weights_sha256: str, name: str, published: str) -> str:
    """What the judge `name` calls its distance: `published` (the resize is fixed by the class) for the known weights,
    `fd[name:<hash8>]` for any others."""
    return published if weights_sha256 == INCEPTION_SHA256 else f"fd[{name}:{weights_sha256[:8]}]"


def dinov2_key(weights_sha256: str) -> str:
    """`fd_dinov2` for the known ViT-L/14 (the preprocessing is fixed by the class), else `fd[dinov2:<hash8>]`."""
    return "fd_dinov2" if weights_sha256 == DINOV2_L14_SHA256 else f"fd[dinov2:{weights_sha256[:8]}]"


def sibling(fidelity_key: str, kind: str) -> str:
    """The name of another number of the same features: `fid` gives `kid`, `fid_clean` gives `kid_clean`, `fd[judge]`
    gives `kid[judge]`."""
    return kind + fidelity_key.removeprefix("fid" if fidelity_key.startswith("fid") else "fd")


def same_preprocessing(one: ClipPreprocessing, other: ClipPreprocessing) -> bool:
    """Equal up to the rounding of the decimals in a configuration file."""
    numbers = [(*p.mean, *p.std, p.scale) for p in (one, other)]
    close = all(abs(a - b) < 1e-6 for a, b in zip(*numbers, strict=True))
    return close and (one.shortest_edge, one.crop) == (other.shortest_edge, other.crop)
