"""What the form of the page asks for, and the command line that asks for the same."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imagen.checks.arguments import Count, described, fits
from imagen.checks.captions import checked_prompt
from imagen.checks.names import printable
from imagen.commandline.arguments import quoted
from imagen.errors import UserError
from imagen.sampling.command import ROLES, hydra_value, shown_path
from imagen.web.cascades import Choice
from imagen.web.composing import How, options

MOST_PICTURES = 32
"""Of one click; `cascade.batch_size`, so that they are made in one batch, as sample.py makes them."""


WORDS = re.compile(r"(?!(?:null|true|false|nan|inf)$)[a-z]+( [a-z]+)*", re.IGNORECASE)
"""What Hydra takes for a text without quotation marks."""


@dataclass(frozen=True)
class Order:
    """Pictures of one guidance weight.

    Args:
        prompts: captions; none for stages without text.
        count: pictures of each prompt.
        seed: of the run; picture i depends on (seed, i).
        base: how the first stage is sampled.
        others: how the stages after it are sampled.
        thresholding: a choice of conf/thresholding.
        negative_prompt: what to steer away from; None: nothing.
        picture: file to change or to enlarge.
        mask: file; what is white in it is drawn anew.
        strength: where a changed picture begins: 1 is pure noise, 0 gives it back.
        resample: how many times each step is taken; None: the default of the project.
        start_at: name of the first stage that is run, which enlarges the picture.

    Raises:
        UserError: for what cannot be used.
    """

    prompts: Sequence[str]
    count: int
    seed: int
    base: How
    others: How
    thresholding: str
    negative_prompt: str | None = None
    picture: Path | None = None
    mask: Path | None = None
    strength: float | None = None
    resample: int | None = None
    start_at: str | None = None

    def __post_init__(self) -> None:
        for number, prompt in enumerate(self.prompts, start=1):
            checked_prompt(prompt, f"prompt {number}")
        for name in ("count", "resample"):
            value = getattr(self, name)
            if value is not None and not fits(value, Count):
                raise UserError(f"{name}={value!r:.80} must be {described(Count)}")
        if not fits(self.seed, int):
            raise UserError(f"seed={self.seed!r:.80} must be {described(int)}")
        for name, how in (("", self.base), ("sr_", self.others)):
            _check(f"{name}sampler", how.sampler, options("sampler"))
            if not fits(how.steps, Count):
                raise UserError(f"{name}sampler.num_steps={how.steps!r:.80} must be {described(Count)}")
            if not fits(how.weight, float):
                raise UserError(f"guidance weight={how.weight!r:.80} must be {described(float)}")
        _check("thresholding", self.thresholding, options("thresholding"))
        if self.total > MOST_PICTURES:
            raise UserError(
                f"{self.total} pictures at once: the page makes at most {MOST_PICTURES}; python sample.py makes any "
                "number"
            )

    @property
    def total(self) -> int:
        """How many pictures are made."""
        return max(1, len(self.prompts)) * self.count

    def settings(self, choice: Choice) -> list[str]:
        """The overrides of sample.py that give the settings of the stages of `choice`."""
        weights = ",".join(number(how.weight) for how in (self.base, self.others))
        own = {role: number((self.others if role != ROLES[0] else self.base).weight) for role in ROLES}
        return [
            f"guidance_weights=[{weights}]",
            *(f"sampling.{role}.guidance_weight={own[role]}" for role in choice.defaults.own_weights),
            f"sampler={self.base.sampler}",
            f"sampler.num_steps={self.base.steps}",
            f"sr_sampler={self.others.sampler}",
            f"sr_sampler.num_steps={self.others.steps}",
            f"thresholding={self.thresholding}",
        ]

    def command(self, choice: Choice) -> str:
        """The command, to be run in the folder that holds sample.py, that makes the same pictures."""
        texts = [written(prompt) for prompt in self.prompts]
        prompt = f"prompt={texts[0]}" if len(texts) == 1 else f"prompt=[{','.join(texts)}]"
        edit = {
            "picture": self.picture and hydra_value(shown_path(self.picture)),
            "mask": self.mask and hydra_value(shown_path(self.mask)),
            "strength": None if self.strength is None else number(self.strength),
            "resample": self.resample,
            "start_at": self.start_at,
            "negative_prompt": self.negative_prompt and written(self.negative_prompt),
        }
        overrides = [
            *([prompt] if texts else []),
            f"count={self.count}",
            f"seed={self.seed}",
            *choice.overrides(shown=True),
            *self.settings(choice),
            *(f"{key}={value}" for key, value in edit.items() if value is not None),
        ]
        return printable(f"python sample.py {shlex.join(overrides)}")


def written(text: str) -> str:
    """A text as a value in Hydra's grammar, so that it arrives as it is, with what looks like an interpolation."""
    return text if WORDS.fullmatch(text) else quoted(text.replace("${", r"\${"))


def number(value: float) -> str:
    """As short as it can be without being another number."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(float(value))


def _check(name: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise UserError(f"{name}={value!r:.80}: no such choice; choose one of {', '.join(known)}")
