"""The library's front door: trained stages and the text encoder they read, in one object that makes pictures."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any, SupportsIndex

import torch
from PIL import Image

from imagen.cascade.cascade import Cascade
from imagen.cascade.embeddings import FromPicture
from imagen.cascade.prior import clip_of, default_embedding
from imagen.cascade.settings import SamplingSettings
from imagen.cascade.stage import Watch
from imagen.checks.arguments import Count, described, fits
from imagen.data.pixels import to_uint8
from imagen.devices import choose_device, uses_autocast
from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.corrections import Correction
from imagen.diffusion.samplers import Estimate
from imagen.errors import UserError
from imagen.files import root, user_path
from imagen.inputs.captions import PromptsOrEmbeddings, one_for_each_picture
from imagen.inputs.edits import Edit, PictureInputs
from imagen.inputs.negative import NegativePrompts, negative_for_each
from imagen.inputs.signals import caption_signals
from imagen.progress import counting
from imagen.runs.weights import AVERAGED
from imagen.sampling.description import described_stages
from imagen.sampling.loading import load_stages, newest_stages, stage_folders
from imagen.sampling.settings import settings_by_role
from imagen.sampling.text_source import open_text
from imagen.stages.export import StageDescription
from imagen.tensors import Images
from imagen.text.embeddings import TextEmbeddings
from imagen.text.record import differences
from imagen.text.sources import RememberedText, TextSource


class TextToImage:
    """A cascade with the text source it was trained on.

        model = TextToImage.load()
        pictures = model(["a red circle"], guidance_weight=3, steps=20, seed=0)
        pictures[0].save("circle.png")

    Picture i depends on (seed, i), its own prompt and the settings alone, whatever else is sampled with it, to the
    rounding of the hardware. `python sample.py` makes the same pictures.

    Args:
        cascade: the stages.
        text: the source of embeddings, or a function that makes it, which is called at the first prompt.
        device: that the stages are on.
        autocast: whether the networks run in bfloat16.
        batch_size: number of pictures sampled together.
        weights: what the stages hold, averaged or raw weights.
    """

    def __init__(
        self,
        cascade: Cascade,
        text: TextSource | Callable[[], TextSource],
        *,
        device: torch.device | str = "cpu",
        autocast: bool = False,
        batch_size: int = 32,
        weights: str = AVERAGED,
    ) -> None:
        if not fits(batch_size, Count):
            raise UserError(f"batch_size={batch_size!r:.80} must be {described(Count)}")
        self.cascade = cascade
        self.device = torch.device(device)
        self.autocast = autocast
        self.batch_size = batch_size
        self.weights = weights
        self._text = text

    @classmethod
    def load(
        cls,
        *stages: str | Path,
        revision: str | None = None,
        download: bool = False,
        runs: str | Path | None = None,
        text: TextSource | str | Path | None = None,
        weights: str = AVERAGED,
        stop_at: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int = 32,
    ) -> "TextToImage":
        """Trained stages, ready to sample.

        Args:
            stages: folders of exported stages, smallest first (unCLIP's prior before them), or one folder that holds
                them as prior, base, sr1, sr2, or the OWNER/NAME of such a folder on the model hub. None given: the
                newest finished stages below `runs`, or the shipped ones where nothing was trained.
            revision: of a repository on the hub: a branch, a tag or a commit.
            download: whether the hub may be asked; without it no connection is opened.
            runs: folder of training runs, as in runs/<stage>/<name>; None: where train.py puts them.
            text: folder of the text encoder, if it is not where the stages say; or a source of embeddings, with the
                fingerprint of the one that they were trained on.
            weights: averaged, or raw for those that the optimizer moved (of runs that still have their checkpoint).
            stop_at: name of the last stage to load (base, sr1, ...); None loads all.
            device: auto, cpu or cuda.
            precision: auto, 32-true or bf16-mixed.
            batch_size: number of pictures sampled together.

        Raises:
            UserError: for stages that are missing, damaged or do not fit together, and for a text source with other
                vectors than they were trained on.
        """
        chosen = choose_device(device)
        autocast = uses_autocast(precision, chosen)
        if stages:
            folders = [folder for place in stages for folder in stage_folders(place, revision, download)]
        else:
            runs = root() / "runs" if runs is None else runs
            folders = newest_stages(user_path(runs), root() / "assets" / "cascade")
        choice = {} if text is None or isinstance(text, TextSource) else {"encoder": {"path": str(user_path(text))}}
        loaded = load_stages(folders, weights, chosen, stop_at, text=choice)
        cascade, described = Cascade.of(loaded), [stage.description for stage in loaded]
        if isinstance(text, TextSource):
            if text.fingerprint != described[0].text:
                different = differences(described[0].text, text.fingerprint)
                raise UserError(f"text is not what the stages were trained on ({different}): leave it out")
            source: TextSource | Callable[[], TextSource] = text
        else:
            source = partial(open_text, choice, folders, described)
        return cls(cascade, source, device=chosen, autocast=autocast, batch_size=batch_size, weights=weights)

    @property
    def stages(self) -> list[StageDescription]:
        """What each stage is, smallest first."""
        return [stage.description for stage in self.cascade.stages]

    @property
    def roles(self) -> list[str]:
        """Names of the stages, smallest first."""
        return [stage.name for stage in self.stages]

    @cached_property
    def text(self) -> RememberedText:
        """The source of embeddings; each caption is embedded once."""
        return RememberedText(self._text if isinstance(self._text, TextSource) else self._text())

    def __repr__(self) -> str:
        sizes = ", ".join(f"{stage.name} {stage.resolution} × {stage.resolution}" for stage in self.stages)
        return f"TextToImage({sizes}; {self.device})"

    def __call__(self, prompts: Sequence[str] | str | None = None, **options: Any) -> Any:
        """Pictures as PIL images: a list, or with `all_stages=True` a list for each stage by its name.

        Arguments and errors as for `images`.
        """
        made = self.images(prompts, **options)
        if isinstance(made, Mapping):
            return {role: as_pictures(images) for role, images in made.items()}
        return as_pictures(made)

    def images(
        self,
        prompts: Sequence[str] | str | None = None,
        *,
        embeddings: TextEmbeddings | None = None,
        negative_prompt: NegativePrompts = None,
        count: int = 1,
        seed: int = 0,
        picture: Any = None,
        mask: Any = None,
        start_at: str | None = None,
        condition: Any = None,
        size: Sequence[int] | None = None,
        corrections: Sequence[Correction | None] | None = None,
        all_stages: bool = False,
        progress: bool = False,
        watch: Watch | None = None,
        **settings: Any,
    ) -> Images | dict[str, Images]:
        """Pictures as tensors: float32 of shape (pictures, 3, height, width) in [-1, 1], on the device of the model.

        Args:
            prompts: captions. Unconditional stages take none.
            embeddings: embedded captions in the place of prompts, as wide as in training; they need no encoder.
            negative_prompt: what to steer away from, in the place of "no text" in guidance: one, or one for each prompt
                (None: none).
            count: number of pictures of each prompt, or in all of unconditional stages.
            seed: of the whole call. Picture i is the same in every call with the same seed, prompt and settings.
            picture: to change (with `mask`, or `strength` below 1) or to enlarge (with `start_at`): a file, a PIL image
                or a tensor (3, height, width) in [-1, 1]; one, or a list with one for each prompt.
            mask: what of the picture is drawn anew: white, or True in a tensor of torch.bool (height, width).
            start_at: name of the first stage that is run; it enlarges the picture.
            condition: a picture for stages that were trained with one; as `picture`.
            size: height and width of the pictures of the last stage; None: the square that it was trained on.
            corrections: one for each picture, applied to every estimate of x0: see `imagen.diffusion.corrections`.
            all_stages: whether to give the pictures of every stage, by its name, and not only those of the last.
            progress: whether to show the denoiser evaluations on standard error.
            watch: called after every evaluation of a denoiser, with the name of the stage and the estimates of x0 of a
                batch. What it raises ends the call.
            settings: sampler, steps, thresholding, guidance, guidance_weight, aug_level, strength, resample and
                tile_overlap, each one value for all stages or a mapping by role, and the `embedding` that an unCLIP
                decoder reads (FromPicture() looks at `picture`); see `imagen.sampling.settings.settings_by_role`.

        Raises:
            UserError: for prompts, embeddings, pictures and settings that cannot be used.
        """
        text = one_for_each_picture(self.stages[0], prompts, embeddings, count)
        if not fits(seed, int):
            raise UserError(f"seed={seed!r:.80} must be {described(int)}")
        begins, looks = settings.get("strength") is not None, isinstance(settings.get("embedding"), FromPicture)
        edit = Edit.of(picture, mask, condition, start_at=start_at, size=size, begins=begins, looks=looks)
        by_role = self._settings(edit, settings)
        inputs = edit.inputs(self.stages, by_role, len(text), corrections)
        negative = negative_for_each(negative_prompt, len(text), by_role, self.stages)
        with self._shown(len(text), by_role, inputs.first, watch) if progress else nullcontext(watch) as every:
            made = self.sample(text, range(len(text)), by_role, seed, inputs, negative, every)
        return dict(zip(self.roles[inputs.first :], made, strict=True)) if all_stages else made[-1]

    def _settings(self, edit: Edit, given: Mapping[str, Any]) -> list[SamplingSettings]:
        """The settings of each stage: those `given`, and for the others what `edit` and the stages need."""
        needed = {"resample": edit.resample(self.stages), "embedding": default_embedding(self.cascade.stages[0])}
        sizes = edit.sizes(self.stages, tiled=given.get("tile_overlap") is not None)
        missing = {name: value for name, value in needed.items() if given.get(name) is None}
        return settings_by_role(self.roles, sizes=sizes, **{**given, **missing})

    @contextmanager
    def _shown(
        self, pictures: int, settings: Sequence[SamplingSettings], first: int, watch: Watch | None
    ) -> Iterator[Watch]:
        """`watch`, which also shows on standard error how many of the denoiser evaluations of all batches are done."""
        batches = -(-pictures // self.batch_size)
        with counting("sampling", batches * self.cascade.evaluations(settings, first)) as advance:

            def every(name: str, estimate: Estimate) -> None:
                advance()
                if watch is not None:
                    watch(name, estimate)

            yield every

    def sample(
        self,
        text: PromptsOrEmbeddings,
        picture_ids: Collection[SupportsIndex],
        settings: Sequence[SamplingSettings],
        seed: int | Sequence[int],
        inputs: PictureInputs | None = None,
        negative: Sequence[str | None] | None = None,
        watch: Watch | None = None,
    ) -> list[Images]:
        """As `Cascade.sample`, in batches: the pictures of every stage that is run, in [-1, 1].

        Args:
            text: a caption or an embedded caption for each picture.
            picture_ids: number of each picture.
            settings: one for each stage, up to the last one that is run.
            seed: of the whole run, or one for each picture.
            inputs: what the pictures are made from besides text.
            negative: what to steer each picture away from; None: nothing.
            watch: called after every evaluation of a denoiser, with the estimates of a batch.
        """
        inputs = inputs or PictureInputs()
        embedding = None if inputs.first else settings[0].embedding
        clip = clip_of(self.cascade.stages[0]) if embedding is not None and embedding.reads_captions else None
        batches, ids = [], list(picture_ids)
        for start in range(0, len(text), self.batch_size):
            part = slice(start, start + self.batch_size)
            own, against = inputs.take(part), None if negative is None else negative[part]
            captions = text.select(range(len(text))[part]) if isinstance(text, TextEmbeddings) else text[part]
            told = caption_signals(captions, lambda: self.text, against, clip, self.device)
            given = Conditioning(own.signals, **told)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
                own_seed = seed if isinstance(seed, int) else seed[part]
                batches.append(
                    self.cascade.sample(given, own_seed, ids[part], settings, own.first, own.corrections, watch)
                )
        return [torch.cat(stage) for stage in zip(*batches, strict=True)]

    def describe(self, settings: Sequence[SamplingSettings], seed: int) -> list[dict[str, Any]]:
        """Plain values: for each stage all that its pictures depend on besides those of the stage before, the text and
        the numbers of the pictures.

        Raises:
            UserError: for a sampler, guidance or thresholding that cannot be described, or that these stages refuse.
        """
        self.cascade.check(settings)
        every = {"weights": self.weights, "seed": seed, "autocast": self.autocast, "device": self.device.type}
        return described_stages(self.cascade, settings, every)


def as_pictures(images: Images) -> list[Image.Image]:
    """Tensors in [-1, 1] as PIL images."""
    return [Image.fromarray(picture) for picture in to_uint8(images)]
