"""What a cascade is sampled from: prompts, embedded captions, or no text at all."""

from collections.abc import Iterable, Sequence
from typing import Any

from imagen.checks.arguments import Count, described, fits
from imagen.checks.captions import checked_prompt
from imagen.errors import UserError
from imagen.stages.export import StageDescription
from imagen.text.embeddings import TextEmbeddings

PromptsOrEmbeddings = Sequence[str] | TextEmbeddings
"""One entry for each picture."""


def reads_text(stage: StageDescription) -> bool:
    """Whether the stage was trained on captions; else it is unconditional."""
    return _fingerprint(stage).get("model") != "none"  # `NoText.fingerprint`


def one_for_each_picture(
    stage: StageDescription,
    prompts: Sequence[str] | str | None,
    embeddings: TextEmbeddings | None,
    count: int,
    name: str = "embeddings",
) -> PromptsOrEmbeddings:
    """Every prompt or embedded caption `count` times; `count` null texts for an unconditional stage.

    Args:
        stage: any of the cascade; all read the same text.
        name: what the user calls the embeddings.

    Raises:
        UserError: unless exactly what the stage reads is given.
    """
    if not fits(count, Count):
        raise UserError(f"count={count!r:.80} must be {described(Count)}")
    if not reads_text(stage):
        if prompts is not None or embeddings is not None:
            raise UserError(
                "these stages were trained without text (text=none): leave the prompt out, and give the number of "
                "pictures as count=16"
            )
        return TextEmbeddings.null(count, _fingerprint(stage)["features"])
    if (prompts is None) == (embeddings is None):
        raise UserError('give either prompts, such as ["a red circle"], or embeddings')
    if embeddings is not None:
        _check(embeddings, stage, name)
        return embeddings.select([row for row in range(len(embeddings)) for _ in range(count)])
    if not isinstance(prompts, Iterable):
        raise UserError(f'prompts={prompts!r:.80}: give texts, such as ["a red circle"]')
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not prompts:
        raise UserError("prompts=[]: there are none; give at least one")
    texts = [checked_prompt(prompt, f"prompt {i}") for i, prompt in enumerate(prompts, start=1)]
    return [text for text in texts for _ in range(count)]


def _check(embeddings: TextEmbeddings, stage: StageDescription, name: str) -> None:
    """Raises UserError unless the embeddings are finite and as wide as the stage reads them."""
    if not isinstance(embeddings, TextEmbeddings):
        raise UserError(f"{name}: TextEmbeddings(values, lengths) are expected, found {type(embeddings).__name__}")
    if len(embeddings) == 0:
        raise UserError(f"{name}: there are no rows; give at least one")
    network = stage.denoiser["network"]
    network = network.get("network", network)  # inside its additions
    width = network.get("text_features")  # a network of other people may call it otherwise
    if isinstance(width, int) and embeddings.features != width:
        raise UserError(
            f"{name}: vectors of {embeddings.features} features, the stages read {width}; embed the captions with the "
            f"encoder that they were trained on: {stage.text}"
        )
    tokens = network.get("text_tokens")
    for row, vectors in enumerate(embeddings.rows()):
        if isinstance(tokens, int) and len(vectors) not in (0, tokens):
            raise UserError(
                f"{name}: row {row} has {len(vectors)} vectors, the stages read {tokens}, those of the padding too"
            )
        if not vectors.isfinite().all():
            raise UserError(f"{name}: row {row} holds NaN or infinity; embed that caption again")


def _fingerprint(stage: StageDescription) -> dict[str, Any]:
    """Of the text source that the stage was trained on; empty where the stage does not say."""
    return stage.text or {}
