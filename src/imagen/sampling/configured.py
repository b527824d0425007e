"""Settings of each stage from a configuration: what it says for all stages, and what `sampling.<role>` says of one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from imagen.cascade.cascade import Cascade
from imagen.cascade.embedding_source import EmbeddingSource
from imagen.cascade.prior import default_embedding
from imagen.cascade.settings import SamplingSettings
from imagen.checks.arguments import described, fits
from imagen.errors import UserError
from imagen.instantiation import instantiate, resolved
from imagen.sampling.command import ROLES
from imagen.tensors import Size

SETTINGS = ("sampler", "thresholding", "guidance_rule", "guidance_weight", "aug_level")
"""What can be set for one stage alone; a base stage has no aug_level."""

EDITING = ("strength", "resample", "tile_overlap")
"""The same, of sample.py alone. null: the default of `SamplingSettings`."""

NUMBERS = {"guidance_weight": float, "aug_level": float, "strength": float, "resample": int, "tile_overlap": float}
"""The settings that are numbers."""


def configured_settings(
    config: DictConfig,
    roles: Sequence[str],
    weights: Sequence[float],
    stopped: bool = False,
    sizes: Sequence[Size | None] | None = None,
    resample: Mapping[str, int] | None = None,
    embedding: EmbeddingSource | None = None,
) -> list[SamplingSettings]:
    """The settings of each stage.

    Args:
        config: with sampler, sr_sampler, thresholding, guidance_rule, cascade.aug_level and sampling.
        roles: names of the stages, in order.
        weights: guidance weight of each stage, where `config.sampling` gives it no other.
        stopped: whether stages may be left out behind these; what is said of them is not used then.
        sizes: of the pictures of each stage; None: squares.
        resample: by role, where `config` does not say how often steps are taken.
        embedding: that an unCLIP decoder, the first stage, reads (`configured_embedding`).

    Raises:
        UserError: for a role that no stage has, a setting that does not exist, and a value out of range.
    """
    own = own_settings(config)
    _check_roles(config, roles, stopped)
    settings = []
    for i, role in enumerate(roles):
        times = (resample or {}).get(role, 1)
        settings.append(_settings(config, role, i, float(weights[i]), times, own.get(role, {})))
    sized = [replace(one, size=size) for one, size in zip(settings, sizes or [None] * len(roles), strict=True)]
    return [replace(sized[0], embedding=embedding), *sized[1:]]


def configured_embedding(config: DictConfig, cascade: Cascade) -> EmbeddingSource | None:
    """Where the embedding comes from that the first stage reads; None if it reads none. Raises as `own_embedding`."""
    return own_embedding(config) or default_embedding(cascade.stages[0])


def own_embedding(config: DictConfig) -> EmbeddingSource | None:
    """What `config.embedding` says; None if it says nothing.

    Raises:
        UserError: for an object of another kind.
    """
    if config.embedding is None:
        return None
    source = _built(resolved(config.embedding), "embedding", "embedding")
    if not isinstance(source, EmbeddingSource):
        raise UserError(f"embedding is a {type(source).__name__}: choose embedding=prior, caption or picture")
    return source


def own_settings(config: DictConfig) -> dict[str, dict[str, Any]]:
    """By role, the settings that `config.sampling` gives to one stage alone."""
    by_role = resolved(config.sampling)
    for role, settings in by_role.items():
        if not isinstance(settings, Mapping):
            raise UserError(
                f"sampling.{role}={settings!r:.80}: give one setting, such as sampling.{role}.aug_level=0.2"
            )
    return {
        role: {key: value for key, value in settings.items() if value is not None} for role, settings in by_role.items()
    }


def _check_roles(config: DictConfig, roles: Sequence[str], stopped: bool) -> None:
    """Check `config.sampling` for roles and keys that do not exist, also those that are null: a misspelt one would be
    taken in silence. The configuration lists every role of `ROLES`, all null, whether or not there is such a stage."""
    for role, settings in resolved(config.sampling).items():
        given = [key for key, value in settings.items() if value is not None]
        listed_anyway = role in ROLES and (stopped or not given)
        if role not in roles and not listed_anyway:
            key = next(iter([*given, *settings]), "")
            raise UserError(f"sampling.{role}.{key}: no stage {role!r} here; choose one of {', '.join(roles)}")
        editing = [key for key in EDITING if key in config]
        known = [*(key for key in SETTINGS if key != "aug_level" or role != ROLES[0]), *editing]
        for key in settings:
            if key not in known:
                raise UserError(f"sampling.{role}.{key}: no such key; choose one of {', '.join(known)}")


def _settings(
    config: DictConfig, role: str, index: int, weight: float, times: int, own: Mapping[str, Any]
) -> SamplingSettings:
    """The settings of stage number `index`: what the configuration says for all stages, with its `own`."""
    places = {
        "sampler": "sr_sampler" if index else "sampler",
        "thresholding": "thresholding",
        "guidance_rule": "guidance_rule",
    }
    plain: dict[str, Any] = {key: resolved(config[place]) for key, place in places.items()}
    plain |= {"guidance_weight": weight} | ({"aug_level": float(config.cascade.aug_level)} if index else {})
    plain |= {key: config[key] for key in EDITING if key in config}
    if "resample" in plain and plain["resample"] is None:
        plain["resample"] = times
    values = merged(plain, own, f"sampling.{role}")

    def place(key: str) -> str:
        return f"sampling.{role}.{key}" if key in own else places.get(key, key)

    numbers = {key: values[key] for key in NUMBERS if values.get(key) is not None}
    for key, value in numbers.items():
        if not fits(value, NUMBERS[key]):
            raise UserError(f"{place(key)}={value!r:.80} must be {described(NUMBERS[key])}")

    def built(key: str, **arguments: Any) -> Any:
        return _built(values[key], key, place(key), **arguments)

    rule = values["guidance_rule"]
    own_weights = isinstance(rule, Mapping) and "weights" in rule
    everywhere = "guidance_weights" if "guidance_weights" in config else "guidance.weights"
    if own_weights and ("guidance_weight" in own or everywhere == "guidance.weights"):
        raise UserError(
            f"{place('guidance_rule')} has weights of its own, so that there is no guidance weight to vary: leave out "
            f"{everywhere if 'guidance_weight' not in own else f'sampling.{role}.guidance_weight'} or the rule"
        )
    if isinstance(rule, Mapping) and "weight" in rule:
        raise UserError(
            f"{place('guidance_rule')}.weight={rule['weight']!r:.80}: the weight is set for each stage; give "
            f"{everywhere} or sampling.{role}.guidance_weight"
        )
    return SamplingSettings(
        sampler=built("sampler"),
        guidance=built("guidance_rule", **({} if own_weights else {"weight": float(values["guidance_weight"])})),
        thresholding=built("thresholding"),
        **{key: NUMBERS[key](value) for key, value in numbers.items() if key != "guidance_weight"},
    )


def _built(node: Any, group: str, place: str, **arguments: Any) -> Any:
    """The object that `node`, at `place` in the configuration, describes. `group`: of the choices there are."""
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(
            f"{place}={node!r:.80} is not an object; in a file, choose one in its defaults: /{group}@{place}: ..."
        )
    config: Any = node
    for part in reversed(place.split(".")):
        config = {part: config}
    return instantiate(OmegaConf.select(OmegaConf.create(config), place), **arguments)  # it says where a mistake is


def merged(plain: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`plain` with `changes`. One with a `_target_` replaces the whole object, any other only the values it names.

    Raises:
        UserError: for a change of what `plain` has not; `where` is the place of the changes in the configuration.
    """
    result = dict(plain)
    for key, value in changes.items():
        if key not in plain:
            known = ", ".join(name for name in plain if name != "_target_")
            there = f"choose one of {known}" if known else f"{_name(plain)} has no settings"
            raise UserError(f"{where}.{key}: no such key; {there}")
        deeper = isinstance(value, Mapping) and isinstance(plain[key], Mapping) and "_target_" not in value
        result[key] = merged(plain[key], value, f"{where}.{key}") if deeper else value
    return result


def _name(node: Mapping[str, Any]) -> str:
    """Of what `node` describes."""
    return str(node.get("_target_", "this mapping")).rpartition(".")[2]


def listed(config: DictConfig, name: str, key: str) -> list[Any]:
    """The list `config[name]`, which a user knows as `key`. A lone value is refused: a string would be iterated
    character by character.

    Raises:
        UserError: unless it is a list.
    """
    value = config[name]
    if not isinstance(value, ListConfig):
        raise UserError(f"{key}={value} must be a list: {key}=[{value}]")
    return list(value)
