"""Export a run that is not finished: `python -m imagen.app.export runs/base/mine`, then sample or evaluate it.

A finished run exports itself. This takes the averaged weights of the last checkpoint, also while the run goes on.
"""

import argparse
from pathlib import Path

from imagen.app.command import prepare_environment, run_reporting_errors


def export(run: Path, out: Path | None = None) -> Path:
    """Export the averaged weights of the last checkpoint of `run` into `out`, by default `run`/export.

    Raises:
        UserError: if there is no configuration or no checkpoint, or either is damaged; or if `out` holds a stage, which
            may be of another run.
    """
    from imagen.app.run_weights import AVERAGED, read_checkpoint
    from imagen.app.runs import RunFolder
    from imagen.errors import UserError
    from imagen.stages.export import CONFIG, export_stage

    folder = RunFolder(run)
    if out is not None and out.resolve() != folder.export.resolve() and (out / CONFIG).exists():
        raise UserError(f"{out} holds an exported stage already; give another --out, or remove it")
    description, denoiser = read_checkpoint(folder.last_checkpoint, AVERAGED)
    out = out or folder.export
    export_stage(out, description, denoiser)
    print(f"step {description.step} of {run} -> {out}", flush=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m imagen.app.export", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run, e.g. runs/base/mine")
    parser.add_argument("--out", type=Path, default=None, help="where to; default: the run's own export/")
    arguments = parser.parse_args()
    prepare_environment()
    raise SystemExit(run_reporting_errors(lambda: export(arguments.run, arguments.out)))


if __name__ == "__main__":
    main()
