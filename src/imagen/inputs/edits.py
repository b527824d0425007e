"""What pictures are made from besides text: a picture to change, a mask, a picture to enlarge, one to be told about."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from imagen.cascade.embeddings import LOOKED_AT
from imagen.cascade.settings import SamplingSettings
from imagen.diffusion.conditioning import Conditioning, ImageSignal
from imagen.diffusion.corrections import Correction, KnownPixels, check_corrections
from imagen.errors import UserError
from imagen.inputs.pictures import Mask, PictureTensor, read_mask, read_picture
from imagen.inputs.sizes import reduced, sizes_of, square
from imagen.stages.export import StageDescription
from imagen.tensors import Size

RESAMPLE = 4
"""How often inpainting takes each step of the first stage, unless said otherwise. The more often, the smaller the
seam between what is drawn anew and what is kept, and the more captions come out right (docs/how-to/edit.md)."""


@dataclass(frozen=True)
class PictureInputs:
    """What pictures are made from besides their text, one row for each picture.

    Args:
        signals: `smaller`, `start`, `condition` and `looked_at` of `Cascade.sample`.
        corrections: one for each picture, or none at all.
        first: number of the first stage to run.
    """

    signals: Conditioning = field(default_factory=Conditioning)
    corrections: Sequence[Correction | None] | None = None
    first: int = 0

    def take(self, part: slice) -> "PictureInputs":
        """The same for some of the pictures."""
        corrections = None if self.corrections is None else self.corrections[part]
        return PictureInputs(self.signals.take(part), corrections, self.first)


@dataclass(frozen=True)
class Edit:
    """What is done with pictures of the user.

    Args:
        pictures: those to change or to enlarge; none: all is made from text. One serves all that are made.
        masks: what is drawn anew in them; none: everything.
        start_at: name of the first stage that is run; it enlarges the picture.
        conditions: for stages that were trained with a `condition`.
        size: height and width of the pictures of the last stage; None: the square that it was trained on.
        begins: whether a strength is asked for; it may be 1, and then has no use for the picture.
        looks: whether the embedding of the pictures is read, for an unCLIP decoder.
    """

    pictures: Sequence[PictureTensor] = ()
    masks: Sequence[Mask] = ()
    start_at: str | None = None
    conditions: Sequence[PictureTensor] = ()
    size: Any = None
    begins: bool = False
    looks: bool = False

    @classmethod
    def of(cls, picture: Any = None, mask: Any = None, condition: Any = None, **others: Any) -> "Edit":
        """Reads the pictures: each argument is one (see `imagen.inputs.pictures`) or a list, one for each prompt.

        Raises:
            UserError: for files and tensors that are no pictures, and for a mask or `start_at` without a picture.
        """
        pictures = [read_picture(one, f"picture{number}") for number, one in _numbered(picture)]
        masks = [read_mask(one, f"mask{number}") for number, one in _numbered(mask)]
        conditions = [read_picture(one, f"condition{number}") for number, one in _numbered(condition)]
        edit = cls(pictures, masks, conditions=conditions, **others)
        for name, given in (("mask", bool(masks)), ("start_at", edit.start_at is not None)):
            if given and not pictures:
                raise UserError(f"{name} needs a picture: give picture=FILE as well")
        return edit

    def sizes(self, stages: Sequence[StageDescription], tiled: bool) -> list[Size | None]:
        """The size of the pictures of each stage. In tiles a picture is enlarged as large as it is.

        Raises:
            UserError: for a size that the stages cannot make.
        """
        if self.size is not None or not tiled or self.start_at is None:
            return sizes_of(stages, self.size)
        low = stages[self.first(stages)].low_resolution
        assert low is not None
        height, width = (side * stages[-1].resolution for side in self.pictures[0].shape[-2:])
        if height % low or width % low:
            raise UserError(
                f"picture: {self.pictures[0].shape[-2]} × {self.pictures[0].shape[-1]} cannot be enlarged from {low} "
                f"to {stages[-1].resolution} pixels a side without a rest; crop it"
            )
        return sizes_of(stages, (height // low, width // low))

    def first(self, stages: Sequence[StageDescription]) -> int:
        """The number of the first stage to run. Raises UserError for one that is not there, or enlarges nothing."""
        if self.start_at is None:
            return 0
        enlarging = [stage.name for stage in stages if stage.low_resolution is not None]
        if self.start_at not in enlarging:
            raise UserError(
                f"start_at={self.start_at}: no stage of this name enlarges a picture; choose one of "
                f"{', '.join(enlarging) or 'a cascade that has one'}"
            )
        return [stage.name for stage in stages].index(self.start_at)

    def resample(self, stages: Sequence[StageDescription]) -> dict[str, int]:
        """How often each step is taken by default, by role: several times where the first stage draws a part anew.

        The stages after it find in their input how that part goes on.
        """
        return {stages[0].name: RESAMPLE} if self.masks and self.start_at is None else {}

    def inputs(
        self,
        stages: Sequence[StageDescription],
        settings: Sequence[SamplingSettings],
        pictures: int,
        corrections: Sequence[Correction | None] | None = None,
    ) -> PictureInputs:
        """The inputs of `pictures` pictures.

        Args:
            stages: all that are loaded.
            settings: of each stage, with the `sizes` of its pictures.
            pictures: how many are made; a multiple of the number of those that are given.
            corrections: the user's own, one for each picture.

        Raises:
            UserError: for pictures that do not fit, are too many or too few, or are given and not used.
        """
        first = self.first(stages)
        begins = self.begins or any(one.strength < 1 for one in settings[first:])
        self._check(stages, begins, corrections)
        sizes = [square(stage, one.size) for stage, one in zip(stages, settings, strict=True)]
        signals: dict[str, list[PictureTensor]] = {}
        if self.start_at is not None:
            factor = stages[first].resolution // (stages[first].low_resolution or 1)
            smaller = (sizes[first][0] // factor, sizes[first][1] // factor)
            signals["smaller"] = [reduced(one, smaller, "picture") for one in self.pictures]
        if begins:
            signals["start"] = [self._whole(one, sizes[-1]) for one in self.pictures]
        if self.looks:
            signals[LOOKED_AT] = list(self.pictures)
        if self.conditions:
            signals["condition"] = [reduced(one, sizes[-1], "condition") for one in self.conditions]
        rows = {name: torch.stack(_repeated(values, pictures, name)) for name, values in signals.items()}
        if self.masks:
            corrections = _repeated(self._known(sizes[-1]), pictures, "picture")
        if corrections is not None:
            check_corrections(corrections, pictures)
        return PictureInputs(Conditioning({name: ImageSignal(row) for name, row in rows.items()}), corrections, first)

    def _check(self, stages: Sequence[StageDescription], begins: bool, corrections: object) -> None:
        """Raises UserError where something is missing, or given and not used."""
        if begins and not self.pictures:
            raise UserError("strength below 1 needs a picture to begin with: give picture=FILE as well")
        if self.looks and not self.pictures:
            raise UserError("embedding=picture needs a picture to look at: give picture=FILE as well")
        if self.looks and len({one.shape for one in self.pictures}) > 1:
            raise UserError("embedding=picture looks at pictures of one size, and these are of several: crop them")
        if self.pictures and not (begins or self.masks or self.looks or self.start_at is not None):
            raise UserError(
                "picture is given and would not be used: give mask=FILE to draw a part of it anew, strength=0.6 to "
                "change it, or start_at=sr1 to enlarge it"
            )
        if self.conditions and not any(reads_condition(stage) for stage in stages):
            raise UserError(
                f"condition is given, and stages {', '.join(stage.name for stage in stages)} read none: leave it out, "
                "or train one (docs/how-to/condition_on_a_picture.md)"
            )
        if self.masks and corrections is not None:
            raise UserError("mask and corrections are both given: put a KnownPixels into the corrections instead")

    def _whole(self, picture: PictureTensor, size: Size) -> PictureTensor:
        """A picture to begin with: at most as large as those that are made; smaller only where it is enlarged."""
        small = self.start_at is not None and picture.shape[-2] < size[0]
        return picture if small else reduced(picture, size, "picture")

    def _known(self, size: Size) -> list[KnownPixels]:
        """What each picture keeps, at the size of the last stage."""
        count = max(len(self.pictures), len(self.masks))
        pairs = zip(_repeated(self.pictures, count, "picture"), _repeated(self.masks, count, "mask"), strict=True)
        known = []
        for picture, mask in pairs:
            if picture.shape[-2:] != mask.shape:
                raise UserError(
                    f"picture is {picture.shape[-2]} × {picture.shape[-1]} and mask {mask.shape[0]} × "
                    f"{mask.shape[1]}: both must be of one size"
                )
            # As large as the last stage once, and not at every step.
            kept = reduced(picture, size, "picture")
            anew = reduced(mask.float().expand(3, -1, -1), size, "mask")[0] > 0
            known.append(KnownPixels(kept, ~anew))
        return known


def reads_condition(stage: StageDescription) -> bool:
    """Whether the network of the stage names the signal `condition`."""
    network = stage.denoiser["network"]
    return "condition" in [*network.get("concatenated", ()), *network.get("pooled", ())]


def _numbered(value: Any) -> list[tuple[str, Any]]:
    """Each of the pictures that a user gives, with what tells it from the others in a message."""
    if value is None:
        return []
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [(f" {number}", one) for number, one in enumerate(value, start=1)]
    return [("", value)]


def _repeated(values: Sequence[Any], count: int, name: str) -> list[Any]:
    """`count` values: each of `values` equally often, one after the other. Raises UserError for other numbers."""
    if not values or count % len(values):
        raise UserError(f"{name}: {len(values)} are given for {count} pictures; give one, or one for each prompt")
    return [one for one in values for _ in range(count // len(values))]
