"""A T5 encoder with random weights: `python -m imagen.shipped.random_t5`, the baseline of the text encoder ablation.

It has the configuration and tokenizer of the shapes T5, and the initial weights of transformers. It is not trained, and
no head is set by hand to attend to a neighbour, as `imagen.shipped.pretrain_t5` does before its first step.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from imagen.commandline.command import first_line, prepare_environment, run_reporting_errors
from imagen.errors import UserError
from imagen.files import user_path
from imagen.places import ROOT

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def make_random_t5(like: Path, out: Path, seed: int) -> None:
    """Replace the folder `out` by a T5EncoderModel of the same size as in `like`, with weights drawn from `seed`.

    Raises:
        UserError: if `like` holds no T5.
    """
    import torch
    from transformers import T5Config, T5EncoderModel

    from imagen.randomness import derive_seed
    from imagen.text.pretrained import load_pretrained

    if not (like / "config.json").is_file():
        raise UserError(f"{like}: no config.json of a T5; set --like to the folder of a T5")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    torch.manual_seed(derive_seed("random T5", seed))
    T5EncoderModel(load_pretrained(T5Config, like)).bfloat16().save_pretrained(partial)
    for name in TOKENIZER:
        shutil.copy(like / name, partial / name)
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    print(f"a T5 with random weights in {out}")


def main(arguments: Sequence[str] | None = None) -> int:
    prepare_environment()
    parser = argparse.ArgumentParser(prog="python -m imagen.shipped.random_t5", description=first_line(__doc__))
    parser.add_argument(
        "--like", type=user_path, default=ROOT / "assets" / "shapes_t5", help="folder of a T5 of the same size"
    )
    parser.add_argument("--out", type=user_path, default=ROOT / "cache" / "random_t5")
    parser.add_argument("--seed", type=int, default=0)
    return run_reporting_errors(lambda: make_random_t5(**vars(parser.parse_args(arguments))))


if __name__ == "__main__":
    raise SystemExit(main())
