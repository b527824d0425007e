"""Our cascade against imagen-pytorch at equal minutes: python benchmarks/race.py

Every contestant trains a cascade 8 -> 32 on the shapes world: the same pictures in the same order, the same embedded
captions (the shipped T5), the same minutes, both stages side by side, each on half the threads. Then each draws one
picture for the same held-out captions, and the checker says in how many every part is right. A contestant that has
finished is not run again; --contestants runs some of them. imagen-pytorch comes with the extra `benchmark`.

What was chosen for imagen-pytorch, and why, stands in benchmarks/race_peer.py.
"""

import argparse
import json
import math
import os
import shlex
import time
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from race_ours import Ours
from race_peer import RECIPES, Peer
from race_rules import STAGES, Contestant, Point, Rules
from speed import cpu_name

from imagen.commandline.command import first_line, prepare_environment, run_reporting_errors
from imagen.commandline.together import run_alone
from imagen.data.pixels import as_pixels, to_uint8
from imagen.diffusion.guidance import check_guidance
from imagen.errors import UserError
from imagen.evaluation.judges.checker import ShapesChecker
from imagen.evaluation.prompts.prompt_set import PromptSet, shapes_prompts
from imagen.evaluation.statistics.jackknife import wilson
from imagen.files import write_json
from imagen.pictures import labelled_grid, save_png
from imagen.places import ROOT
from imagen.tensors import Images
from imagen.text.embeddings import TextEmbeddings
from imagen.text.encoders import HuggingFaceEncoder
from imagen.text.sources import OnlineText

CONTESTANTS: dict[str, Contestant] = {"ours": Ours(), **{name: Peer(name) for name in RECIPES}}
PROMPT_SEED = 4001  # conf/prompts/shapes.yaml
GRID = 16


def run(name: str, rules: Rules, points: Sequence[Point], prompts: PromptSet, out: Path) -> None:
    """Train and sample the contestant, or go on where its result.json stops.

    Raises:
        UserError: if it was begun under other rules, or a training fails.
    """
    contestant, folder = CONTESTANTS[name], out / name
    asked = {"minutes": rules.minutes, "pictures": rules.pictures, "threads": rules.threads}
    result = _begun(folder, asked) or _trained(contestant, rules, folder, asked)
    missing = [point for point in points if point.name not in result["samples"]]
    if not missing:
        return
    text = embedded(prompts)
    for point in missing:
        print(f"{name}: {rules.pictures} pictures at guidance weight {point.weight:g}, {point.steps} steps", flush=True)
        sample = contestant.sampler(folder, point)
        started = time.monotonic()
        images = sample(text)
        seconds = time.monotonic() - started
        result["samples"][point.name] = _judged(images, prompts) | {
            "guidance_weights": point.weights,
            "steps": point.steps,
            "seconds_per_64": seconds * 64 / rules.pictures,
            "load": os.getloadavg()[0],
        }
        _save_grid(images, prompts, folder / f"{point.name}.png")
        write_json(result, folder / "result.json")
        print(f"    {seconds:.1f} s", flush=True)


def _begun(folder: Path, asked: dict[str, Any]) -> dict[str, Any] | None:
    """What is there of a contestant that was trained; None if none was."""
    path = folder / "result.json"
    if not path.is_file():
        return None
    result = json.loads(path.read_text())
    if result["rules"] != asked:
        raise UserError(f"{path} was made with {result['rules']}, not {asked}: give another --out")
    print(f"{folder.name}: trained already", flush=True)
    return result


def _trained(contestant: Contestant, rules: Rules, folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Its result.json without samples.

    Raises:
        UserError: if the captions cannot be embedded, or a training fails.
    """
    print(f"{folder.name}: {contestant.description}; {rules.minutes:g} minutes", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    embed_all_captions(rules.cache)  # before the clock runs, and once for both stages
    load = os.getloadavg()[0]
    training = contestant.train(rules, folder) | {"load_before": load, "load_after": os.getloadavg()[0]}
    result = {"description": contestant.description, "rules": asked, "training": training, "samples": {}}
    write_json(result, folder / "result.json")
    return result


def embed_all_captions(cache: Path) -> None:
    """Fill the cache that all trainings read. Raises UserError if that fails."""
    captions = ["-m", "imagen.app.cache", "experiment=demo_base", f"paths.cache={cache}"]
    if code := run_alone(captions):
        raise UserError(f"python {shlex.join(captions)} ended with exit code {code}")


def embedded(prompts: PromptSet) -> TextEmbeddings:
    """The captions by the shipped T5, as the cache holds them."""
    encoder = HuggingFaceEncoder(ROOT / "assets" / "shapes_t5", device="cpu")
    return OnlineText(encoder).embed(prompts.texts)


def _judged(images: Images, prompts: PromptSet) -> dict[str, Any]:
    """Whether every part of each picture is right, and how many pictures have each part right."""
    verdicts = [verdict for verdict in ShapesChecker()(as_pixels(to_uint8(images)), prompts.prompts) if verdict]
    parts: dict[str, list[bool]] = {}
    for verdict in verdicts:
        for part, right in verdict["parts"].items():
            parts.setdefault(part, []).append(right)
    return {
        "right": [bool(verdict["correct"]) for verdict in verdicts],
        "parts": {part: {"right": sum(rights), "of": len(rights)} for part, rights in parts.items()},
    }


def _save_grid(images: Images, prompts: PromptSet, path: Path) -> None:
    """The first pictures, nothing selected."""
    pictures = list(to_uint8(images[:GRID]))
    save_png(labelled_grid([[picture] for picture in pictures], prompts.texts[: len(pictures)], [""]), path, {})


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown: one line for each contestant and way to sample.

    `all right`: of how many captions every part is. `parts right`: share of the parts of all captions.
    """
    lines = [
        "| contestant | minutes | parameters, M | steps | w | sampler | all right [95 %] | parts right | s per 64 |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, result in results.items():
        training = result["training"]
        millions, steps = (
            " + ".join(form.format(training[stage][key] / scale) for stage in STAGES)
            for key, form, scale in (("parameters", "{:.1f}", 1e6), ("steps", "{:.0f}", 1))
        )
        for sample in result["samples"].values():
            right, count = sum(sample["right"]), len(sample["right"])
            rate = wilson(right, count)
            parts = [sum(part[key] for part in sample["parts"].values()) for key in ("right", "of")]
            lines.append(
                f"| {name} | {training['minutes']:.1f} | {millions} | {steps} | {sample['guidance_weights'][0]:g} | "
                f"{' + '.join(map(str, sample['steps']))} | {right} of {count} [{rate.low:.2f}, {rate.high:.2f}] | "
                f"{parts[0] / parts[1]:.2f} | {sample['seconds_per_64']:.1f} |"
            )
    return "\n".join(lines)


def race(options: argparse.Namespace) -> None:
    """Run the contestants one after another; then the table of all that are in the folder, also as results.json.

    Raises:
        UserError: if imagen-pytorch is to run and is not installed, as `check`, and as `run`.
    """
    check(options)
    if set(options.contestants) & set(RECIPES) and find_spec("imagen_pytorch") is None:
        raise UserError(
            "imagen-pytorch is not installed: pip install -e '.[benchmark]' -c constraints.txt, or --contestants ours"
        )
    torch.set_num_threads(options.threads)
    out = options.out.expanduser().absolute()
    rules = Rules(options.minutes, options.pictures, options.threads, out / "cache")
    prompts = shapes_prompts(options.pictures, PROMPT_SEED)
    for name in options.contestants:
        run(name, rules, CONTESTANTS[name].points(options.weights, options.timesteps), prompts, out)
    kept = {name: out / name / "result.json" for name in CONTESTANTS}
    results = {name: json.loads(path.read_text()) for name, path in kept.items() if path.is_file()}
    machine = {"machine": cpu_name(), "cores": os.cpu_count()}
    versions = {package: _version(package) for package in ("torch", "imagen-lightning", "imagen-pytorch")}
    write_json(machine | {"versions": versions, "contestants": results}, out / "results.json")
    print(f"\n{table(results)}\n\n{out / 'results.json'}; pictures beside it", flush=True)


def check(options: argparse.Namespace) -> None:
    """Raises UserError for a number that no contestant could train or sample with, before the first trains."""
    for name in ("minutes", "pictures", "threads", "timesteps"):
        value = getattr(options, name)
        for number in value if isinstance(value, list) else [value]:
            if not 0 < number < math.inf:
                raise UserError(f"--{name} {number:g}: give a finite number above 0")
    for weight in options.weights:
        check_guidance(weight, rescale=0)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=first_line(__doc__))
    parser.add_argument("--contestants", nargs="+", default=list(CONTESTANTS), choices=CONTESTANTS)
    parser.add_argument("--minutes", type=float, default=10.5, help="of training, for each contestant")
    parser.add_argument("--pictures", type=int, default=64, help="number of held-out captions")
    parser.add_argument("--weights", type=float, nargs="+", default=[1.0, 3.0], help="guidance weights of the base")
    parser.add_argument("--timesteps", type=int, nargs="+", default=[100, 1000], help="of imagen-pytorch's sampler")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "race")
    return parser.parse_args(arguments)


def main() -> int:
    prepare_environment()
    options = parse_arguments()
    goes_on = "contestants that are trained are kept, and the same command goes on"
    return run_reporting_errors(lambda: race(options), interrupted=goes_on)


if __name__ == "__main__":
    raise SystemExit(main())
