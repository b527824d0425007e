"""Weights & Biases, for who has its package: `pip install -e '.[wandb]'`, then `logger=wandb`."""

import os
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_only

from imagen.callbacks.loggers import RunLogger
from imagen.errors import UserError
from imagen.files import open_regular, user_path, write_text

MODES = ("online", "offline", "disabled")
"""Values of WANDB_MODE."""


class WandbCurves(RunLogger):
    """A run of Weights & Biases, with its files in `<folder>/wandb`; a resumed training continues the same run.

    The step of wandb is the number of optimizer steps. wandb cannot delete logged steps. Steps repeated after a resume
    are skipped; values unsent at a kill are lost.

    The environment variable WANDB_MODE decides whether anything is sent: `online` (its default), `offline`, `disabled`.
    Sources, the state of git and what is printed are not recorded.

    Args:
        folder: of the run of ours.
        project: of wandb.
        entity: user or team; None: the default of whoever is logged in.
        name: of the run in wandb's tables.

    Raises:
        UserError: if the package is not installed, or WANDB_MODE has another value.
    """

    def __init__(self, folder: str, project: str, entity: str | None = None, name: str | None = None) -> None:
        super().__init__()
        self.folder, self.project, self.entity, self.title = user_path(folder), project, entity, name
        self._wandb, self._mode = _package(), _mode()
        self._run: Any = None

    @property
    def name(self) -> str:
        return self.project

    @property
    def version(self) -> str | None:
        """The id of the run, None before it has begun."""
        return self._run.id if self._run else None

    @property
    def save_dir(self) -> str:
        return str(self.folder)

    @property
    def place(self) -> str:
        return self._run.url if self._run and not self._run.offline else str(self.folder / "wandb")

    @rank_zero_only
    def resume_at(self, step: int) -> None:
        """Begin a run of wandb, or continue that of the training that goes on after `step`.

        Raises:
            UserError: if wandb does not begin it: for want of a login or a connection.
        """
        id_file = self.folder / "wandb" / "id.txt"
        known = step >= 0 and id_file.is_file()
        identity = _read_id(id_file) if known else uuid.uuid4().hex[:8]
        write_text(identity, id_file)
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        settings = self._wandb.Settings(console="off", disable_code=True, disable_git=True, quiet=True)
        try:
            self._run = self._wandb.init(
                id=identity, project=self.project, entity=self.entity, name=self.title, dir=str(self.folder),
                settings=settings, reinit="create_new",
                mode=self._mode, resume="allow" if known and self._mode == "online" else None,
            )  # fmt: skip
        except self._wandb.Error as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"logger=wandb: {reason}; log in with `wandb login`, or set WANDB_MODE=offline and upload it later",
                environment=True,
            ) from error

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any], *args: object, **kwargs: object) -> None:
        self._run.config.update(params, allow_val_change=True)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._log(dict(metrics), step)

    @rank_zero_only
    def log_picture(self, name: str, picture: np.ndarray, step: int) -> None:
        self._log({name: self._wandb.Image(picture)}, step)

    def _log(self, values: dict[str, Any], step: int | None) -> None:
        if step is None or step >= self._run.step:  # wandb would drop the others too, each with a warning
            self._run.log(values, step=step)

    @rank_zero_only
    def close(self) -> None:
        if self._run:
            self._run.finish()
            self._run = None


def _read_id(path: Path) -> str:
    with open_regular(path) as file:  # may be a stranger's
        return file.read(100).decode(errors="replace").strip()


def _mode() -> str:
    mode = os.environ.get("WANDB_MODE", "online")
    if mode not in MODES:
        raise UserError(f"logger=wandb: WANDB_MODE={mode!r:.80} must be one of {', '.join(MODES)}")
    return mode


def _package() -> ModuleType:
    try:
        import wandb
    except ModuleNotFoundError:
        raise UserError(
            "logger=wandb needs the package wandb, which is not installed: pip install -e '.[wandb]' -c constraints.txt"
        ) from None
    return wandb
