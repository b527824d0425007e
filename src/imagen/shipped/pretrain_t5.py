"""Pre-train the T5 of the shapes world: `python -m imagen.shipped.pretrain_t5 --out assets/shapes_t5`.

A real `T5ForConditionalGeneration` (v1.1 style) learns by span corruption (Raffel et al., 2020, section 3.1.4) on two
true sentences about one scene: words masked in one can be filled in only by reading the bindings of the other. Only the
encoder is kept, as T5EncoderModel, with its tokenizer and a model card. Scenes come from the train split only, so that
no part of a generator ever reads a held-out composition.
"""

import argparse
import math
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagen.commandline.command import first_line, prepare_environment, run_reporting_errors
from imagen.files import user_path
from imagen.progress import track
from imagen.randomness import derive_seed
from imagen.shapes import KIND_PROPORTIONS, all_descriptions, caption, paraphrases

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, T5EncoderModel, T5ForConditionalGeneration

SENTINELS = 32
# The initial position of each head, as T5's buckets of relative positions: 1 to 7 are -1 to -7, 17 to 23 are +1 to +7.
# Each head attends to one position: the word itself or a neighbour from -4 to +4. So a noun's vector starts with its
# colour and the relation before or after it, which distinguishes the first object from the second.
HEAD_BUCKETS = ((1,), (17,), (2,), (0,), (3,), (19,), (4,), (18,))
HEAD_BIAS = 6.0
# Probability of each task for a batch. All are span corruption; they differ in what is masked.
TASKS = {"sentence": 0.9, "pair": 0.05, "alone": 0.05}
EMBEDDING_SCALE = 0.3
DENSITY = (0.15, 0.5)  # range of the share of masked words, in the tasks "pair" and "alone"


@dataclass(frozen=True)
class Corpus:
    """Token ids of the sentences about each description; the caption comes first in every entry."""

    kinds: tuple[str, ...]
    entries: dict[str, list[list[list[int]]]]


def build_tokenizer(sentences: Sequence[str]) -> "PreTrainedTokenizerFast":
    """A word-level tokenizer with T5's layout: pad 0, end 1, unknown 2, sentinels last in descending order."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for sentence in sentences for word in sentence.lower().split()})
    sentinels = [f"<extra_id_{number}>" for number in range(SENTINELS)]
    names = ["<pad>", "</s>", "<unk>", ".", ",", *words, *reversed(sentinels)]
    tokenizer = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=sentinels,
        model_max_length=128,
    )


def build_corpus(tokenizer: "PreTrainedTokenizerFast", split: str) -> Corpus:
    """All descriptions of the split, as token ids without the end token."""
    entries: dict[str, list[list[list[int]]]] = {kind: [] for kind in KIND_PROPORTIONS}
    for description in all_descriptions(split):
        sentences = [caption(description), *paraphrases(description)]
        entries[description.kind].append(tokenizer(sentences, add_special_tokens=False)["input_ids"])
    return Corpus(tuple(KIND_PROPORTIONS), entries)


def draw_example(corpus: Corpus, task: str, rng: np.random.Generator, separator: int) -> tuple[list[int], np.ndarray]:
    """Words, and a mask of the words to hide.

    "alone": hide words of one sentence. "pair": hide words of two sentences about one scene, joined by `separator`.
    "sentence": hide one whole sentence of such a pair, so that it must be written from the other one.
    """
    kind = rng.choice(corpus.kinds, p=[KIND_PROPORTIONS[kind] for kind in corpus.kinds])
    sentences = corpus.entries[kind][rng.integers(len(corpus.entries[kind]))]
    # Every pair contains the caption, because captions are what the encoder reads later.
    other = rng.integers(1, len(sentences))
    if task == "alone":
        words = sentences[0 if rng.random() < 0.5 else other]
        return words, rng.random(len(words)) < rng.uniform(*DENSITY)
    if task == "pair":
        first, second = (0, other) if rng.random() < 0.5 else (other, 0)
        words = [*sentences[first], separator, *sentences[second]]
        return words, rng.random(len(words)) < rng.uniform(*DENSITY)
    read, written = (0, other) if rng.random() < 0.75 else (other, 0)
    words = [*sentences[read], separator, *sentences[written]]
    return words, np.arange(len(words)) > len(sentences[read])


def corrupt(words: list[int], masked: np.ndarray, vocabulary: int, end: int) -> tuple[list[int], list[int]]:
    """T5's span corruption: each run of masked words becomes one sentinel; the target contains the words of the runs.

    Returns the encoder's input and the decoder's target, both ending with `end`.
    """
    source, target, sentinel = [], [], vocabulary
    for position, (word, hidden) in enumerate(zip(words, masked.tolist(), strict=True)):
        if not hidden:
            source.append(word)
            continue
        if position == 0 or not masked[position - 1]:
            sentinel = max(sentinel - 1, vocabulary - SENTINELS)
            source.append(sentinel)
            target.append(sentinel)
        target.append(word)
    return [*source, end], [*target, end]


def rectangle(rows: list[list[int]], fill: int) -> np.ndarray:
    """The rows as one int64 array (rows, longest), padded with `fill`."""
    out = np.full((len(rows), max(map(len, rows))), fill, dtype=np.int64)
    for index, row in enumerate(rows):
        out[index, : len(row)] = row
    return out


def train(
    model: "T5ForConditionalGeneration",
    corpus: Corpus,
    separator: int,
    steps: int,
    batch_size: int,
    lr: float,
    seed: int,
) -> float:
    """Train with AdamW, a short warm-up and a cosine decay to zero. Returns the mean loss of the last 5 % of steps."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    warmup, losses = max(1, steps // 20), []
    vocabulary, end, pad = model.config.vocab_size, model.config.eos_token_id, model.config.pad_token_id
    assert isinstance(end, int)
    assert isinstance(pad, int)
    model.train()
    for step in track(range(steps), "pre-training the shapes T5", steps):
        rng = np.random.default_rng(derive_seed("shapes-t5", seed, step))
        # One task for the whole batch, so that its examples are about equally long.
        task = rng.choice(list(TASKS), p=list(TASKS.values()))
        pairs = [corrupt(*draw_example(corpus, task, rng, separator), vocabulary, end) for _ in range(batch_size)]
        source = torch.from_numpy(rectangle([pair[0] for pair in pairs], pad))
        target = torch.from_numpy(rectangle([pair[1] for pair in pairs], -100))
        for group in optimizer.param_groups:
            group["lr"] = lr * min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        loss = model(input_ids=source, attention_mask=source != pad, labels=target).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % max(1, steps // 10) == 0:
            print(f"step {step + 1}: loss {np.mean(losses[-steps // 10 :]):.4f}", file=sys.stderr, flush=True)
    return float(np.mean(losses[-max(1, steps // 20) :]))


def build_model(vocabulary: int, seed: int) -> "T5ForConditionalGeneration":
    """Width 256, 4 layers, gated GELU, no dropout, embeddings not tied to the output: T5 v1.1, small.

    The single decoder layer reads the encoder's vectors once, so words that belong together must share one vector.
    """
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(derive_seed("shapes-t5-weights", seed))
    config = T5Config(
        vocab_size=vocabulary,
        d_model=256,
        d_kv=32,
        d_ff=512,
        num_heads=len(HEAD_BUCKETS),
        num_layers=4,
        num_decoder_layers=1,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,  # pyright: ignore[reportCallIssue]: a field of every configuration
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,  # pyright: ignore[reportCallIssue]: the same
    )
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        # T5's own scales (1 for both) are made for Adafactor, whose steps grow with the weights. With Adam the
        # attention over the encoder would stay untrained, and the loss would stall as without an encoder.
        model.shared.weight.mul_(EMBEDDING_SCALE)
        model.lm_head.weight.mul_(config.d_model**-0.5)
        # Each head starts with attention to one neighbour, so a word's vector contains its neighbours (its colour, its
        # relation) from the first step. Adam would need thousands of steps to grow a bias of several units.
        blocks: Any = model.encoder.block
        bias = blocks[0].layer[0].SelfAttention.relative_attention_bias.weight
        for head, buckets in enumerate(HEAD_BUCKETS):
            bias[list(buckets), head] += HEAD_BIAS
    return model


def encoder_of(model: "T5ForConditionalGeneration") -> "T5EncoderModel":
    """The encoder half, with the same weights."""
    from transformers import T5EncoderModel

    encoder = T5EncoderModel(model.config)
    missing, _ = encoder.load_state_dict(model.state_dict(), strict=False)
    assert not missing, missing
    return encoder.eval()


def save(encoder: "T5EncoderModel", tokenizer: "PreTrainedTokenizerFast", out: Path) -> None:
    """Write the encoder, in bfloat16, and its tokenizer to the folder `out`, which is replaced."""
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    encoder.bfloat16().save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    prepare_environment()
    return run_reporting_errors(lambda: pretrain(arguments))


def pretrain(arguments: Sequence[str] | None = None) -> None:
    """Pre-train the T5 that the command line asks for, measure it, and write its folder and model card."""
    parser = argparse.ArgumentParser(prog="python -m imagen.shipped.pretrain_t5", description=first_line(__doc__))
    parser.add_argument("--out", type=user_path, default=Path("assets/shapes_t5"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)

    import torch

    from imagen.files import write_text
    from imagen.shipped.t5_report import evaluate, model_card

    torch.set_num_threads(options.threads)
    sentences = [text for item in all_descriptions("train") for text in (caption(item), *paraphrases(item))]
    tokenizer = build_tokenizer(sentences)
    model = build_model(len(tokenizer), options.seed)
    separator = tokenizer.convert_tokens_to_ids(".")
    assert isinstance(separator, int)
    untrained = evaluate(model.eval(), encoder_of(model), tokenizer)
    started = time.monotonic()
    corpus = build_corpus(tokenizer, "train")
    loss = train(model, corpus, separator, options.steps, options.batch_size, options.lr, options.seed)
    seconds = time.monotonic() - started
    encoder = encoder_of(model)
    save(encoder, tokenizer, options.out)
    figures = {"untrained": untrained, "trained": evaluate(model.eval(), encoder, tokenizer)}
    card = model_card(options, encoder, figures, loss, seconds, len(sentences))
    write_text(card, options.out / "MODEL_CARD.md")
    print(card)


if __name__ == "__main__":
    raise SystemExit(main())
