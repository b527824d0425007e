"""Rewrites per-stage settings of the command line into Hydra overrides: `sampling.<role>.<setting>=...` of one stage,
`sr_sampler=...` of the super-resolution stages."""

import re

COMMANDS = ("sample", "evaluate")
"""Whose configuration has the group `sampling`."""

GROUPS = ("sampler", "thresholding", "guidance_rule")
"""Settings that are chosen from a group of conf/."""

CHOICE_OF_SR = re.compile(r"sr_sampler=(?!null$)([^{}\[\]=]+)")
CHOICE = re.compile(rf"sampling\.([^.=@]+)\.({'|'.join(GROUPS)})=(?!null$)([^{{}}\[\]=]+)")

REWRITTEN = re.compile(rf"(?:{'|'.join(GROUPS)})@(sr_sampler|sampling\..*)")
"""A choice in Hydra's own words; the group is what the user writes."""


def of_one_role(argument: str) -> str:
    """The override that Hydra understands for `argument`; an argument that sets nothing per stage stays as it is.

    `sampling.<role>.sampler=ddpm` selects from the group. `sampling.<role>.sampler.num_steps=64` is added with `++`;
    unknown keys are refused later, by `merged`.

    >>> of_one_role("sampling.sr1.sampler=ddpm")
    'sampler@sampling.sr1.sampler=ddpm'
    >>> of_one_role("sampling.sr1.sampler.num_steps=64")
    '++sampling.sr1.sampler.num_steps=64'
    >>> of_one_role("sr_sampler=ddim")
    'sampler@sr_sampler=ddim'
    """
    if choice := CHOICE.fullmatch(argument):
        role, group, names = choice.groups()
        return f"{group}@sampling.{role}.{group}={names}"
    if choice := CHOICE_OF_SR.fullmatch(argument):
        return f"sampler@sr_sampler={choice[1]}"
    return f"++{argument}" if argument.startswith("sampling.") else argument


def as_the_user_writes(key: str) -> str:
    """The key of an override, without what `of_one_role` put before it.

    >>> as_the_user_writes("sampler@sampling.sr1.sampler")
    'sampling.sr1.sampler'
    """
    choice = REWRITTEN.fullmatch(key)
    return choice[1] if choice else key
