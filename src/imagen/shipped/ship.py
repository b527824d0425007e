"""Copy finished stages into assets/cascade: `python -m imagen.shipped.ship runs/base/shipped runs/sr1/shipped`."""

import argparse
from pathlib import Path

import torch

from imagen.commandline.command import prepare_environment, run_reporting_errors
from imagen.files import user_path
from imagen.places import ROOT
from imagen.runs.weights import AVERAGED, load_weights
from imagen.sampling.command import sampling_command
from imagen.stages.export import default_card, export_stage


def ship(run: Path, assets: Path) -> None:
    """Export the stage of `run` under its role in `assets`, and add its origin to its card.

    Raises:
        UserError: if the run has no exported stage.
    """
    stage = load_weights(run / "export", AVERAGED, torch.device("cpu"))
    folder = assets / stage.description.name
    card = default_card(stage.description, sampling_command(stage.description, folder, run.absolute().parent.parent))
    card += (
        f"- Made by: `make assets` (`python train.py experiment=shipped_{stage.description.name}` and its later legs)\n"
        "- Stored in float16, computed with in float32\n- Licence: Apache-2.0\n"
    )
    # float16 halves the size. Rounding weights to 11 bits changes a picture less than rounding the picture to 8 bits.
    export_stage(folder, stage.description, stage.model.denoiser, card, torch.float16)
    print(f"{run} -> {folder}")


def main() -> None:
    prepare_environment()
    parser = argparse.ArgumentParser(prog="python -m imagen.shipped.ship", description=__doc__)
    parser.add_argument("runs", nargs="+", type=user_path, help="folders of finished runs, e.g. runs/base/shipped")
    parser.add_argument("--assets", type=user_path, default=ROOT / "assets" / "cascade")

    def ship_all() -> None:
        arguments = parser.parse_args()
        for run in arguments.runs:
            ship(run, arguments.assets)

    raise SystemExit(run_reporting_errors(ship_all))


if __name__ == "__main__":
    main()
