"""Export a run that is not finished: `imagen export runs/base/mine`, then sample or evaluate it.

A finished run exports itself. This takes the averaged weights of the last checkpoint, also while the run goes on.
"""

import argparse
from pathlib import Path

from imagen.commandline.command import first_line, prepare_environment, run_reporting_errors
from imagen.files import user_path


def export(run: Path, out: Path | None = None) -> Path:
    """Export the averaged weights of the last checkpoint of `run` into `out`, by default `run`/export.

    Raises:
        UserError: if there is no configuration or no checkpoint, or either is damaged; or if `out` holds a stage, which
            may be of another run.
    """
    from imagen.errors import UserError
    from imagen.published.additions import write_for_peft
    from imagen.runs.checkpoint import read_checkpoint
    from imagen.runs.folder import RunFolder
    from imagen.sampling.command import sampling_command
    from imagen.stages.card import default_card
    from imagen.stages.export import CONFIG, export_stage

    folder = RunFolder(run)
    if out is not None and out.resolve() != folder.export.resolve() and (out / CONFIG).exists():
        raise UserError(f"{out} holds an exported stage already; give another --out, or remove it")
    description, denoiser = read_checkpoint(folder.last_checkpoint, averaged=True)
    out = out or folder.export
    command = sampling_command(description, out, run.absolute().parent.parent)
    export_stage(out, description, denoiser.state_dict(), default_card(description, command))
    if description.adds_to is not None:
        write_for_peft(out, description, denoiser.state_dict())
    print(f"step {description.step} of {run} -> {out}", flush=True)
    return out


def main() -> None:
    prepare_environment()
    parser = argparse.ArgumentParser(prog="imagen export", description=first_line(__doc__))
    parser.add_argument("run", type=user_path, help="folder of a run, e.g. runs/base/mine")
    parser.add_argument("--out", type=user_path, default=None, help="where to; default: the run's own export/")
    parser.add_argument("--plugins", nargs="+", default=[], metavar="PACKAGE", help="packages of its own classes")
    raise SystemExit(run_reporting_errors(lambda: _export(parser.parse_args())))


def _export(arguments: argparse.Namespace) -> None:
    from imagen.plugins import using_plugins

    with using_plugins(arguments.plugins):
        export(arguments.run, arguments.out)


if __name__ == "__main__":
    main()
