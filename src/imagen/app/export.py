"""Export a run that is not finished: `python -m imagen.app.export runs/base/mine`, then sample or evaluate it.

A finished run exports itself. This takes the averaged weights of the last checkpoint, also while the run goes on.
"""

import argparse
from pathlib import Path

from imagen.app.command import prepare_environment, run_reporting_errors


def export(run: Path, out: Path | None = None) -> Path:
    """Export the averaged weights of the last checkpoint of `run` into `out`, by default `run`/export.

    Raises:
        UserError: if there is no configuration or no checkpoint, or either is damaged.
    """
    from imagen.app.runs import RunFolder
    from imagen.app.saved_config import read_saved
    from imagen.app.train import describe
    from imagen.errors import UserError
    from imagen.instantiation import instantiate
    from imagen.stages.checkpoint_io import AtomicCheckpointIO
    from imagen.stages.export import export_stage

    folder = RunFolder(run)
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} is not the folder of a run: config.yaml is missing; give one such as runs/base/default")
    config = read_saved(run / "config.yaml")
    checkpoint = AtomicCheckpointIO().load_checkpoint(folder.last_checkpoint)
    stage = instantiate(config.stage)
    stage.load_state_dict(checkpoint["state_dict"])
    devices = config.trainer.get("devices")
    processes = (devices if isinstance(devices, int) else 1) * config.trainer.get("num_nodes", 1)
    text = instantiate(config.text).fingerprint
    out = out or folder.export
    export_stage(out, describe(config, checkpoint["global_step"], processes, text), stage.ema.module)
    print(f"step {checkpoint['global_step']} of {run} -> {out}", flush=True)
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
