"""Finished stages as safetensors, config.json and a model card: only what is needed to sample.

The configuration in an export is data. It is instantiated through `instantiate_stage_part`, which allows the
mathematics and the networks of this package and refuses everything else.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from imagen.checks.arguments import Count, fits
from imagen.checks.foreign import checked_record, read_json
from imagen.checks.names import checked_name
from imagen.checks.worlds import World
from imagen.diffusion.denoiser import Denoiser
from imagen.diffusion.schedules import NoiseSchedule
from imagen.errors import UserError
from imagen.files import publish, sha256_of_file, write_json, write_text
from imagen.instantiation import instantiate_stage_part
from imagen.networks.adapters.low_rank import is_addition
from imagen.stages.card import default_card
from imagen.stages.conditioners import Conditioner, LowResConditioner, TextConditioner
from imagen.stages.distillation.record import Distilled
from imagen.stages.model import StageModel
from imagen.stages.unclip.record import clip_sha256, unplaced

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
FORMAT_VERSION = 3
READABLE_VERSIONS = (1, 2, 3)
"""Version 1 had no `text_source`, version 2 no `trained_on`."""

MAX_RESOLUTION, MAX_TEXT_FEATURES = 1 << 14, 1 << 16
ORIGIN = ("step", "images_seen", "init_from", "format_version")
"""The fields of a description that tell how it was trained. All others, also future ones, decide the pictures."""

OUTSIDE_IDENTITY = (*ORIGIN, "text_source", "trained_on", "distilled")
"""`text_source` says where the text encoder is; which one it is, its fingerprint in `text` decides. Including
it would change the identity when an encoder is moved, and evaluations would be repeated. `trained_on` and
`distilled` are history."""

LEFT_OUT = ("conditioner", "distilled", "adds_to")
"""Fields that a description has only where they say something, as those that are older than the field."""

Part = TypeVar("Part")


@dataclass(frozen=True)
class StageDescription:
    """Everything about a trained stage but its weights; plain JSON.

    `denoiser`, `schedule`, `augmentation` and `conditioner` are configurations. A base stage has no `low_resolution`
    and no `augmentation`; a `conditioner` of None is the one of Imagen that follows from these two. `text` is the
    fingerprint of the text source that the stage was trained on, `text_source` the configuration that builds it again
    (`imagen.text.record`), None in exports of format version 1. `trained_on` is the record of the pictures
    (`imagen.checks.worlds.World`), None where they are not known. `images_seen` counts those of the last run;
    `init_from` is the sha256 of the weights that it started from, None for random ones. `distilled` is the record of a
    student (`imagen.stages.distillation.record.Distilled`), None for stages that learned from pictures alone. `adds_to`
    is the folder and the sha256 of the published weights that the weights here are additions to; None: they are whole.
    """

    name: str
    resolution: int
    low_resolution: int | None
    denoiser: dict[str, Any]
    schedule: dict[str, Any]
    augmentation: dict[str, Any] | None
    text: dict[str, Any] | None
    step: int
    images_seen: int
    weights_sha256: str = ""
    init_from: str | None = None
    conditioner: dict[str, Any] | None = None
    text_source: dict[str, Any] | None = None
    trained_on: dict[str, Any] | None = None
    distilled: dict[str, Any] | None = None
    adds_to: dict[str, str] | None = None
    format_version: int = FORMAT_VERSION

    @property
    def identity(self) -> dict[str, Any]:
        """Plain values: everything about a stage that its pictures depend on, without its history."""
        identity = {name: value for name, value in self.fields.items() if name not in OUTSIDE_IDENTITY}
        if self.adds_to is not None:
            identity["adds_to"] = self.adds_to.get("weights_sha256")  # wherever they are
        return identity if self.conditioner is None else identity | {"conditioner": unplaced(self.conditioner)}

    @property
    def world(self) -> World | None:
        """The pictures that the stage was trained on; None where they are not known."""
        return None if self.trained_on is None else World.from_record(self.trained_on, "trained_on", "export it again")

    @property
    def made_for(self) -> Distilled | None:
        """How a student is to be sampled, and whose it is; None for any other stage."""
        where, way_out = "distilled", "export it again"
        return None if self.distilled is None else Distilled.from_record(self.distilled, where, way_out)

    @property
    def clip(self) -> str | None:
        """The sha256 of the CLIP whose vectors an unCLIP stage makes or reads; None for any other stage."""
        return clip_sha256(self.conditioner)

    @property
    def fields(self) -> dict[str, Any]:
        """Plain values, without those in `LEFT_OUT` that are None."""
        return {name: value for name, value in asdict(self).items() if value is not None or name not in LEFT_OUT}


@dataclass(frozen=True)
class TrainedStage:
    """A stage ready to sample, and how it was trained."""

    description: StageDescription
    model: StageModel


def export_stage(
    folder: Path,
    description: StageDescription,
    weights: Mapping[str, Tensor],
    card: str = "",
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a stage with the `weights` of its denoiser into `folder`; of one that adds to published weights, the
    additions alone. The configuration is deleted first and written
    last: a folder that has one is whole.

    Weights are stored as `dtype`, and always used in float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: tensor for name, tensor in weights.items() if description.adds_to is None or is_addition(name)}
    state = {name: tensor.detach().cpu().to(dtype).contiguous() for name, tensor in kept.items()}
    partial = folder / f".{WEIGHTS}.part"
    partial.unlink(missing_ok=True)  # it may be a link to another file
    save_file(state, partial)
    fields = description.fields | {"weights_sha256": sha256_of_file(partial)}
    (folder / CONFIG).unlink(missing_ok=True)  # of the previous export: it does not describe these weights
    publish(partial, folder / WEIGHTS)
    write_text(card or default_card(description), folder / CARD)
    write_json(fields, folder / CONFIG)


def read_description(folder: Path) -> StageDescription:
    """The description of the stage in `folder`.

    Raises:
        UserError: if there is no exported stage, or one of a newer format.
    """
    path, way_out = folder / CONFIG, "export the stage again"
    try:
        fields = read_json(path, way_out, max_bytes=1 << 20)
    except FileNotFoundError:
        raise UserError(f"{folder}: no exported stage ({CONFIG} is missing); train one with python train.py") from None
    version = fields.get("format_version") if isinstance(fields, dict) else FORMAT_VERSION
    if version not in READABLE_VERSIONS:
        readable = f"this version reads {READABLE_VERSIONS[0]} to {READABLE_VERSIONS[-1]}: update the project"
        raise UserError(f"{path}: format_version {version!r:.60}, {readable}")
    description = checked_record(StageDescription, fields, str(path), way_out)
    checked_name(description.name, f"{path}: name")
    for name in ("resolution", "low_resolution"):
        size = getattr(description, name)
        if size is not None and not 1 <= size <= MAX_RESOLUTION:
            raise UserError(f"{path}: {name} is {size}, expected 1 to {MAX_RESOLUTION}; {way_out}")
    if description.trained_on is not None:
        World.from_record(description.trained_on, f"{path}: trained_on", way_out)
    if description.distilled is not None:
        Distilled.from_record(description.distilled, f"{path}: distilled", way_out)
    check_text(description, str(path), way_out)
    return description


def check_text(description: StageDescription, where: str, way_out: str) -> None:
    """Raises UserError if an unconditional stage does not say how wide the null text is. `where` begins the message,
    `way_out` ends it."""
    text = description.text or {}
    if text.get("model") != "none":  # `NoText.fingerprint`
        return
    features = text.get("features")
    if not isinstance(features, int) or not fits(features, Count) or features > MAX_TEXT_FEATURES:
        raise UserError(f"{where}: text.features is {features!r:.60}, expected 1 to {MAX_TEXT_FEATURES}; {way_out}")


def load_stage(folder: Path, device: torch.device | str = "cpu") -> TrainedStage:
    """The stage in `folder`, in evaluation mode.

    Raises:
        UserError: if the description or the weights are missing, damaged, or do not fit each other.
    """
    description = read_description(folder)
    if description.adds_to is not None:
        raise UserError(f"{folder} holds additions to published weights and is no stage by itself: it can be sampled")
    state = read_state(folder, description)
    where = f"{folder / WEIGHTS}, against the network that {CONFIG} describes"
    denoiser = load_denoiser(description.denoiser, state, where, "export the stage again")
    return ready_to_sample(description, denoiser, device)


def read_state(folder: Path, description: StageDescription) -> dict[str, Tensor]:
    """The weights in `folder`.

    Raises:
        UserError: if they are missing, damaged, or not those of the `description`.
    """
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise UserError(f"{weights} is missing or no regular file; export the stage again")
    if (digest := sha256_of_file(weights)) != description.weights_sha256:
        raise UserError(
            f"{weights}: sha256 {digest[:12]}…, expected {description.weights_sha256[:12]}…: the file was changed or "
            "damaged; export the stage again"
        )
    try:
        return load_file(weights)
    except SafetensorError as error:
        raise UserError(f"{weights}: {error}; export the stage again") from None


def ready_to_sample(
    description: StageDescription, denoiser: Denoiser, device: torch.device | str = "cpu"
) -> TrainedStage:
    """The stage that `description` and the trained `denoiser` make, on `device`, in evaluation mode."""
    denoiser = denoiser.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    schedule = stage_part(NoiseSchedule, description.schedule, "schedule")
    conditioner = described_conditioner(description)
    return TrainedStage(
        description, StageModel(description.name, description.resolution, denoiser, schedule, conditioner)
    )


def described_conditioner(description: StageDescription) -> Conditioner:
    """The conditioner of a stage: the one that `description` names, or else Imagen's for its sizes.

    Raises:
        UserError: if a super-resolution stage names neither a conditioner nor an augmentation schedule.
    """
    if description.conditioner is not None:
        return stage_part(Conditioner, description.conditioner, "conditioner")
    if description.low_resolution is None:
        return TextConditioner()
    if description.augmentation is None:
        raise UserError(
            f"super-resolution stage {description.name!r} has no augmentation schedule; export the stage again"
        )
    augmentation = stage_part(NoiseSchedule, description.augmentation, "augmentation")
    return LowResConditioner(description.low_resolution, description.resolution, augmentation)


def stage_part(cls: type[Part], config: Mapping[str, Any], where: str) -> Part:
    """The part of a stage that `config`, which came with somebody's weights, describes.

    Raises:
        UserError: if it cannot be built or is not a `cls`; `where` names the part in the message.
    """
    part = instantiate_stage_part(config)
    if not isinstance(part, cls):
        raise UserError(f"{where} of the stage is a {type(part).__name__}, no {cls.__name__}; export the stage again")
    return part


def load_denoiser(config: Mapping[str, Any], state: Mapping[str, torch.Tensor], where: str, way_out: str) -> Denoiser:
    """The denoiser that `config`, which came with the weights `state`, describes.

    Its shapes are compared on the meta device, which allocates nothing: a configuration may ask for more memory than
    there is.

    Raises:
        UserError: with the tensors that do not fit; `where` begins the message, `way_out` ends it.
    """
    with torch.device("meta"):
        wanted = stage_part(Denoiser, config, "denoiser").state_dict()
    if misfit := describe_misfit(wanted, state):
        raise UserError(f"{where}: {misfit}; {way_out}")
    denoiser = stage_part(Denoiser, config, "denoiser")
    denoiser.load_state_dict(state)
    return denoiser


def describe_misfit(wanted: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> str | None:
    """The number of tensors that are missing, superfluous or of another shape, and the first three; None if all fit."""
    expected = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in given.items()}
    wrong = [name for name in expected | shapes if expected.get(name) != shapes.get(name)]
    if not wrong:
        return None
    listed = ", ".join(f"{name}: expected {expected.get(name)}, found {shapes.get(name)}" for name in wrong[:3])
    return f"{len(wrong)} tensors do not fit ({listed})"
