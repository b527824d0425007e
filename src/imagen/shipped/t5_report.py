"""Measures what the shapes T5 has learnt: words that its decoder writes, and linear probes of the encoder's vectors."""

import argparse
import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from imagen.randomness import derive_seed
from imagen.shapes import (
    Look,
    Position,
    Relation,
    all_descriptions,
    caption,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, T5EncoderModel, T5ForConditionalGeneration

RIDGE = 1e-3
EXAMPLES = 1500


@dataclass(frozen=True)
class Probe:
    """A question about one vector of each caption (that of `token`, or with None the mean of all), or about two.

    With `other_token` the same regression answers for both tokens, so it must distinguish them by their vectors alone.
    A generator must do that too, because its attention reads every token with the same weights.
    """

    name: str
    token: int | None
    answer: Callable[[Position], str]
    other_token: int | None = None
    other_answer: Callable[[Position], str] | None = None


# "a red circle to the left of a blue square on a white background": the first noun is token 2, its colour token 1.
# Counted from the end (</s> is -1), for every relation: the second noun is token -6, its colour token -7.
PROBES = (
    Probe("first noun: its own colour", 2, lambda scene: scene.first.colour),
    Probe("second noun: its own colour", -6, lambda scene: scene.second.colour),
    Probe("first colour: its own shape", 1, lambda scene: scene.first.shape),
    Probe("either noun: its side", 2, lambda it: it.relation.side, -6, lambda it: it.relation.inverse.side),
    Probe(
        "either colour: its side", 1, lambda scene: scene.relation.side, -7, lambda scene: scene.relation.inverse.side
    ),
    Probe("first noun: colour of the other", 2, lambda scene: scene.second.colour),
    Probe("first noun: shape of the other", 2, lambda scene: scene.second.shape),
    Probe("mean: first colour", None, lambda scene: scene.first.colour),
    Probe("mean: first shape", None, lambda scene: scene.first.shape),
    Probe("mean: second colour", None, lambda scene: scene.second.colour),
    Probe("mean: second shape", None, lambda scene: scene.second.shape),
    Probe("mean: colour of the left or upper one", None, lambda scene: _before(scene).colour),
    Probe("mean: shape of the left or upper one", None, lambda scene: _before(scene).shape),
    Probe("mean: relation", None, lambda scene: scene.relation),
    Probe("mean: background", None, lambda scene: scene.background),
)


def evaluate(
    model: "T5ForConditionalGeneration", encoder: "T5EncoderModel", tokenizer: "PreTrainedTokenizerFast"
) -> dict[str, float]:
    """Figures on held-out compositions: shares in [0, 1], and the scale of the encoder's vectors."""
    seen, unseen = probed_scenes()
    figures = {"colour of the object on one side, written by the decoder": _written(model, tokenizer, unseen)}
    figures |= probe(encoder, tokenizer, seen, unseen)
    vectors = torch.cat(_vectors(encoder, tokenizer, unseen))
    figures["standard deviation of the vectors"] = vectors.std().item()
    figures["largest absolute value"] = vectors.abs().max().item()
    return figures


def probed_scenes() -> tuple[list[Position], list[Position]]:
    """Descriptions of two objects and their relation: of the train split to fit probes, held out to test them."""
    splits = (all_descriptions(split) for split in ("train", "held_out"))
    seen, unseen = ([item for item in every if isinstance(item, Position)] for every in splits)
    return _some(seen, "probe"), _some(unseen, "probe")


def _before(scene: Position) -> Look:
    """The look of the object on the left or at the top."""
    return scene.first if scene.relation in (Relation.LEFT, Relation.ABOVE) else scene.second


@torch.no_grad()
def _written(
    model: "T5ForConditionalGeneration", tokenizer: "PreTrainedTokenizerFast", scenes: Sequence[Position]
) -> float:
    """Share of captions for which the decoder completes "the object on the left is a" with the right colour."""
    right = 0
    for start in range(0, len(scenes), 256):
        chunk = scenes[start : start + 256]
        inputs = tokenizer([f"{caption(scene)} . <extra_id_0>" for scene in chunk], padding=True, return_tensors="pt")
        prefixes = [f"<extra_id_0> the object {scene.relation.side} is a" for scene in chunk]
        words = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in prefixes]
        logits = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            decoder_input_ids=torch.tensor([[model.config.decoder_start_token_id, *row] for row in words]),
        ).logits
        predicted = tokenizer.convert_ids_to_tokens(logits[:, -1].argmax(-1).tolist())
        right += sum(word == scene.first.colour for word, scene in zip(predicted, chunk, strict=True))
    return right / len(scenes)


def probe(
    encoder: "T5EncoderModel",
    tokenizer: "PreTrainedTokenizerFast",
    seen: Sequence[Position],
    unseen: Sequence[Position],
) -> dict[str, float]:
    """Accuracy on `unseen` of a ridge regression to one-hot answers, fitted on `seen`."""
    train, test = _vectors(encoder, tokenizer, seen), _vectors(encoder, tokenizer, unseen)
    figures = {}
    for question in PROBES:
        names = sorted({str(question.answer(item)) for item in seen})
        inputs, targets = _examples(question, train, seen, names)
        weights = _ridge(inputs, torch.nn.functional.one_hot(targets, len(names)).double())
        inputs, truth = _examples(question, test, unseen, names)
        figures[f"probe, {question.name}"] = ((inputs @ weights).argmax(-1) == truth).double().mean().item()
    return figures


def _some(descriptions: Sequence[Position], purpose: str) -> list[Position]:
    count = min(EXAMPLES, len(descriptions))
    return random.Random(derive_seed("shapes-t5-report", purpose)).sample(list(descriptions), count)


def _examples(
    question: Probe, vectors: list[Tensor], scenes: Sequence[Position], names: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """The inputs of the probe, (examples, features + 1), and the indices of the right answers."""
    inputs = [_inputs(vectors, question.token)]
    answers = [question.answer(scene) for scene in scenes]
    if question.other_answer:
        inputs.append(_inputs(vectors, question.other_token))
        answers += [question.other_answer(scene) for scene in scenes]
    return torch.cat(inputs), torch.tensor([names.index(str(answer)) for answer in answers])


def _inputs(vectors: list[Tensor], token: int | None) -> Tensor:
    chosen = torch.stack([rows.mean(0) if token is None else rows[token] for rows in vectors]).double()
    return torch.cat([chosen, torch.ones(len(chosen), 1, dtype=chosen.dtype)], dim=1)


def _ridge(inputs: Tensor, targets: Tensor) -> Tensor:
    """argmin |inputs W - targets|² + ridge |W|², in closed form; the ridge is relative to the power of the inputs."""
    gram = inputs.T @ inputs
    penalty = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram + penalty, inputs.T @ targets)


@torch.no_grad()
def _vectors(
    encoder: "T5EncoderModel", tokenizer: "PreTrainedTokenizerFast", descriptions: Sequence[Position]
) -> list[Tensor]:
    """The token vectors of each caption, shape (tokens, features)."""
    rows: list[Tensor] = []
    for start in range(0, len(descriptions), 256):
        texts = [caption(item) for item in descriptions[start : start + 256]]
        inputs = tokenizer(texts, padding=True, return_tensors="pt")
        out = encoder(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
        rows += [row[mask.bool()] for row, mask in zip(out, inputs["attention_mask"], strict=True)]
    return rows


CARD = """---
license: apache-2.0
library_name: transformers
tags: [t5, text-encoder, shapes-world]
---
# shapes T5

The frozen text encoder of the shapes world: a `T5EncoderModel` ({parameters:,} parameters, width {width}, {layers}
layers, gated GELU) and its word-level tokenizer ({vocabulary} entries, {sentinels} of them sentinels).

- **Data:** {sentences:,} sentences: the captions of the train split of the shapes world and their paraphrases, all made
  by this project's grammar. Held-out compositions were not seen.
- **Objective:** span corruption (T5) on one or two sentences about one scene, with a 1-layer decoder that is not kept.
- **Training:** {steps:,} steps of {batch} examples, AdamW, learning rate {lr}, seed {seed}, {seconds:.0f} s on
  {threads} CPU thread(s); training loss at the end {loss:.3f}. Each attention head starts with a bias towards one
  neighbour.
- **Made by:** `python -m imagen.shipped.pretrain_t5 --seed {seed} --steps {steps} --batch-size {batch} --lr {lr}
  --threads {threads}`
- **model.safetensors, sha256:** `{sha256}` ({size:,} bytes)
- **Licence:** Apache-2.0, as the rest of the project.
- **Use:** reads English of this grammar only; any word outside it is `<unk>`.

| measured on captions of held-out compositions | untrained | trained |
|---|--:|--:|
{figures}

Probes: accuracy of a ridge regression, fitted on {examples} train captions of the form "a A to the left of a B" (or
right of, above, below), from the vector of one token, or from the mean of all. "Either noun: its side": one regression
for the first and the second noun, which must tell by the vector alone on which side of the picture its object stands.
"Written by the decoder": the caption read, "the object on the left is a" given, the next word right (chance: one half).
"Untrained" is the same encoder before its first step.
"""


def model_card(
    options: argparse.Namespace,
    encoder: "T5EncoderModel",
    figures: dict[str, dict[str, float]],
    loss: float,
    seconds: float,
    sentences: int,
) -> str:
    """The text of MODEL_CARD.md for the encoder saved in `options.out`; `figures` before and after training."""
    weights = (options.out / "model.safetensors").read_bytes()
    rows = [
        f"| {name} | {figures['untrained'][name]:.3f} | {value:.3f} |" for name, value in figures["trained"].items()
    ]
    return CARD.format(
        parameters=sum(parameter.numel() for parameter in encoder.parameters()),
        width=encoder.config.d_model,
        layers=encoder.config.num_layers,
        vocabulary=encoder.config.vocab_size,
        sentinels=32,
        sentences=sentences,
        steps=options.steps,
        batch=options.batch_size,
        lr=options.lr,
        seed=options.seed,
        threads=options.threads,
        seconds=seconds,
        loss=loss,
        sha256=hashlib.sha256(weights).hexdigest(),
        size=len(weights),
        examples=EXAMPLES,
        figures="\n".join(rows),
    )
