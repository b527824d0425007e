"""What captions cost: encoding them into the cache, and training on them in every `text.mode`.

    python -m benchmarks.text_at_scale --cache       # captions a second, by number of processes
    python -m benchmarks.text_at_scale --train       # images a second and the share of it spent waiting for data

Every measurement is a process of its own. Training is that of the base stage on the shapes world, whose pictures are
written into shards first, so that all modes read the same rows; each mode is measured in turn, several times over.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CAPTIONS = 8 * 4096
WORDS = ("red", "green", "blue", "yellow", "purple", "orange", "square", "circle", "star", "above", "below", "small")
MODES = {
    f"{mode}, {ahead} ahead": [f"text.mode={mode}", f"data.ahead={ahead}"]
    for mode in ("cached", "shards", "online")
    for ahead in (0, 2)
}
ROWS = 5000
WARM_UP, STEPS = 10, 40


def captions(count: int) -> list[str]:
    """Different ones of some 12 tokens."""
    pick = [WORDS[(number * 7 + place * number // 13) % len(WORDS)] for place in range(5) for number in range(count)]
    return [f"a {' '.join(pick[number::count])} on a white background, number {number}" for number in range(count)]


def encode(processes: int, folder: Path) -> dict[str, float]:
    from imagen.text.encoders import HuggingFaceEncoder
    from imagen.text.sources import CachedText

    wanted = captions(CAPTIONS)
    source = CachedText(HuggingFaceEncoder(ROOT / "assets" / "shapes_t5", batch_size=256), folder, processes)
    begun = time.perf_counter()
    source.prepare(wanted)
    return {"processes": processes, "captions_per_s": CAPTIONS / (time.perf_counter() - begun)}


def train(overrides: list[str]) -> dict[str, float]:
    from hydra import compose, initialize_config_dir
    from lightning import Callback, Trainer

    from imagen.commandline.command import prepare_environment
    from imagen.data.module import make_data
    from imagen.instantiation import instantiate
    from imagen.runs.trainer import quieten_libraries

    class Clock(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step in (WARM_UP, WARM_UP + STEPS):
                ends.append((time.perf_counter(), trainer.train_dataloader.waiting.seconds))

    ends: list[tuple[float, float]] = []
    prepare_environment()
    quieten_libraries()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", overrides=overrides)
    settings = {**config.trainer, "limit_val_batches": 0, "enable_checkpointing": False, "max_steps": WARM_UP + STEPS}
    trainer: Trainer = instantiate(settings, callbacks=[Clock()], logger=False)
    trainer.fit(instantiate(config.stage), make_data(config.data))
    (begun, waited), (ended, in_all) = ends
    images = STEPS * config.data.batch_size
    return {"images_per_s": images / (ended - begun), "waiting": (in_all - waited) / (ended - begun)}


def in_a_process(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.text_at_scale", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def draw(folder: Path) -> None:
    """Pictures of the shapes world as files, 64 × 64."""
    from PIL import Image

    from imagen.data.shapes_source import ShapesSource

    folder.mkdir()
    source = ShapesSource(0, ROWS, "train", 64)
    with (folder / "metadata.jsonl").open("w") as metadata:
        for row in range(ROWS):
            Image.fromarray(source[row].image).save(folder / f"{row}.png")
            metadata.write(json.dumps({"file_name": f"{row}.png", "text": source[row].caption}) + "\n")


def compare(work: Path, batch_size: int, rounds: int) -> None:
    shards = work / "shards"
    draw(work / "pictures")
    made = ["imagen.packing.command", "data=image_folder", f"data.path={work / 'pictures'}", "text.mode=online"]
    subprocess.run([sys.executable, "-m", *made, f"out={shards}", f"paths.cache={work}"], cwd=ROOT, check=True)
    common = [
        "stage=base", "data=webdataset", f"data.path={shards}", f"paths.cache={work}", f"paths.runs={work}",
        f"data.batch_size={batch_size}", "trainer.accelerator=cpu", "data.num_workers=2",
    ]  # fmt: skip
    found: dict[str, list[dict[str, float]]] = {name: [] for name in MODES}
    for _ in range(rounds):
        for name, mode in MODES.items():
            found[name].append(in_a_process("--one", *common, *mode))
    for name, runs in found.items():
        images, waiting = ([run[key] for run in runs] for key in ("images_per_s", "waiting"))
        spread = f"{min(images):.1f} to {max(images):.1f}"
        print(
            f"{name:<20} {statistics.median(images):6.1f} images/s ({spread}), waiting {statistics.median(waiting):.1%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", action="store_true")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--encode", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.encode:
        print(json.dumps(encode(int(options.encode[0]), Path(options.encode[1]))))
    elif options.one:
        print(json.dumps(train(options.one)))
    with tempfile.TemporaryDirectory() as folder:
        if options.cache:
            for turn in range(options.rounds):
                for processes in (1, 2):
                    print(in_a_process("--encode", str(processes), f"{folder}/{processes}_{turn}"), flush=True)
        if options.train:
            compare(Path(folder), options.batch_size, options.rounds)


if __name__ == "__main__":
    main()
