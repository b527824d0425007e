"""Train a judge of the shapes world: `python -m imagen.shipped.train_judge --name a --out assets/judge_a`.

Writes a folder that transformers (and `imagen.evaluation.judges.clip.ClipJudge`) load as a CLIPModel, with a
model card.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

from imagen.commandline.command import first_line, prepare_environment, run_reporting_errors
from imagen.files import user_path


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    prepare_environment()
    return run_reporting_errors(lambda: train_judge(arguments))


def train_judge(arguments: Sequence[str] | None = None) -> None:
    """Train the judge that the command line asks for, measure it, and write its folder and model card."""
    from imagen.data.shapes_source import SHAPES
    from imagen.evaluation.judges.clip import ClipJudge
    from imagen.evaluation.judges.record import JudgeRecord
    from imagen.files import sha256_of_file, write_text
    from imagen.judging.model import load, save
    from imagen.shipped.judge_card import measure, model_card
    from imagen.shipped.judge_model import RECIPES, make_tokenizer
    from imagen.shipped.judge_training import train

    parser = argparse.ArgumentParser(prog="python -m imagen.shipped.train_judge", description=first_line(__doc__))
    parser.add_argument("--name", choices=sorted(RECIPES), required=True, help="name of the recipe")
    parser.add_argument("--out", type=user_path, required=True, help="folder to write")
    parser.add_argument("--first-phase", type=user_path, help="folder of a judge after the first phase")
    parser.add_argument("--steps", type=int, help="steps of each phase, for a trial; default: the recipe's")
    chosen = parser.parse_args(arguments)
    if chosen.steps is not None and chosen.steps < 3:
        parser.error(f"--steps {chosen.steps}: a learning rate that rises and falls needs at least 3")
    recipe = RECIPES[chosen.name]
    if chosen.steps is not None:
        recipe = replace(recipe, steps=chosen.steps, caption_steps=chosen.steps, late_steps=chosen.steps)
    started = time.perf_counter()
    tokenizer = make_tokenizer()
    model = train(recipe, tokenizer, load(chosen.first_phase) if chosen.first_phase else None)
    seconds = time.perf_counter() - started
    save(model, tokenizer, chosen.out)
    judge = ClipJudge(chosen.out, f"shapes-judge-{chosen.name}", device="cpu")
    card = model_card(chosen.name, recipe, measure(judge), judge, seconds)
    write_text(card, chosen.out / "MODEL_CARD.md")
    weights = sha256_of_file(chosen.out / "model.safetensors")
    JudgeRecord(judge.name, SHAPES.as_record(), weights, minutes=round(seconds / 60, 2), settings=asdict(recipe)).write(
        chosen.out
    )
    print(card)


if __name__ == "__main__":
    raise SystemExit(main())
