"""Settings of one stage on the command line, `sampling.<role>.<setting>=...`, as Hydra has to be told them."""

import re

GROUPS = ("sampler", "thresholding", "guidance_rule")
"""Settings that are chosen from a group of conf/."""

CHOICE = re.compile(rf"sampling\.([^.=@]+)\.({'|'.join(GROUPS)})=(?!null$)([^{{}}\[\]=]+)")


def of_one_role(argument: str) -> str:
    """`argument`, an override of the command line, in Hydra's own words if it is of the settings of one stage.

    A choice is one of its group, composed before single values are set. A single value, whose object is chosen
    elsewhere for all stages, is added: what no object has is refused when the two are put together.

    >>> of_one_role("sampling.sr1.sampler=ddpm")
    'sampler@sampling.sr1.sampler=ddpm'
    >>> of_one_role("sampling.sr1.sampler.num_steps=64")
    '++sampling.sr1.sampler.num_steps=64'
    """
    if choice := CHOICE.fullmatch(argument):
        role, group, names = choice.groups()
        return f"{group}@sampling.{role}.{group}={names}"
    return f"++{argument}" if argument.startswith("sampling.") else argument
