"""Objects from configuration, through one gate.

Hydra's `instantiate` calls whatever `_target_` names. Here a target is either a class of this package or stands in a
short list of exact names; everything else is refused before anything is imported or called. A function writes files or
reads them as soon as it is called, so ours too must stand in the list. Configuration read from a checkpoint or an
exported stage passes the narrower gates `instantiate_stage_part` and `instantiate_saved_text`. Every gate lets through
the classes of the user's own packages (`imagen.plugins`). Hydra resolves interpolations in what it is given, so none
may be left in it: what is resolved once (`resolved`) is not resolved again. Values are held to the types that the
target's signature asks for.

The section `hydra` is outside these gates: Hydra builds its own callbacks, launcher and sweeper from it before this
package sees the configuration. It does not come with weights; it is read only from config files that the user names
with `--config-dir` or `experiment=`, and from the command line.
"""

import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from typing import Any

from omegaconf import OmegaConf

from imagen.checks.arguments import check_arguments
from imagen.errors import UserError
from imagen.plugins import in_a_plugin, may_be_plugin

TEXT_SOURCE = "imagen.text.sources.make_text_source"

ALLOWED_TARGETS = frozenset(
    {
        # The functions of this package that make an object.
        "imagen.runs.trainer.make_trainer",
        "imagen.callbacks.progress.make_progress",
        "imagen.evaluation.judges.own.own_judges",
        "imagen.evaluation.sweep.own_reference.own_reference",
        "imagen.evaluation.prompts.coco.coco_prompts",
        "imagen.evaluation.prompts.dpg.dpg_prompts",
        "imagen.evaluation.prompts.geneval2.geneval2_prompts",
        "imagen.evaluation.prompts.tables.drawbench_prompts",
        "imagen.evaluation.prompts.tables.parti_prompts",
        "imagen.evaluation.prompts.openmoji.openmoji_prompts",
        "imagen.evaluation.prompts.prompt_set.file_prompts",
        "imagen.evaluation.prompts.prompt_set.shapes_prompts",
        "imagen.stages.lr.warmup_then_cosine",
        TEXT_SOURCE,
        "lightning.Trainer",
        "lightning.pytorch.callbacks.ModelCheckpoint",
        "lightning.pytorch.callbacks.ThroughputMonitor",
        "lightning.pytorch.plugins.environments.SLURMEnvironment",
        "lightning.pytorch.profilers.PyTorchProfiler",
        "lightning.pytorch.profilers.SimpleProfiler",
        "lightning.pytorch.strategies.DDPStrategy",
        "torch.optim.Adafactor",
        "torch.optim.Adam",
        "torch.optim.AdamW",
        "torch.optim.SGD",
    }
)

LEFT_OVER = "is an interpolation after resolving, which would be resolved again: write the value itself"

FRAMEWORKS = frozenset({"torch", "torchvision", "lightning", "transformers", "datasets", "hydra", "omegaconf", "numpy"})
"""Too large to be trusted whole: no message proposes to."""

STAGE_PART_PACKAGES = ("imagen.diffusion.", "imagen.networks.", "imagen.stages.")
"""Where the parts of an exported stage may come from."""


def instantiate(config: Any, **kwargs: Any) -> Any:
    """The object that `config` describes, with every `_target_` in it checked first.

    Raises:
        UserError: if a target is not allowed, does not exist, or cannot be built from its arguments.
    """
    return _checked_instantiate(config, ("imagen.",), ALLOWED_TARGETS, kwargs)


def instantiate_stage_part(config: Any, **kwargs: Any) -> Any:
    """Like `instantiate`, for configuration that came with somebody's weights: mathematics and networks only.

    Raises:
        UserError: also for an interpolation, which could read this machine's environment, and for arguments without
            names, of which nothing else could tell what they are.
    """
    refuse_interpolations(config, "config")
    return _checked_instantiate(config, STAGE_PART_PACKAGES, frozenset(), kwargs, all_named=True)


def instantiate_saved_text(config: Any, where: str = "text") -> Any:
    """The text source that a run was trained on, from the configuration beside its checkpoint or in its export: classes
    of `imagen.text` only, which read files of this machine and write none until they are given captions, and never the
    network. `where` is the place of `config` in its file.

    Raises:
        UserError: also for an interpolation, and for arguments without names, among which a download could hide.
    """
    refuse_interpolations(config, where)
    return _checked_instantiate(_offline(config, where), ("imagen.text.",), frozenset({TEXT_SOURCE}), {}, where)


def instantiate_source(config: Any, where: str) -> Any:
    """The source of pictures that a judge was trained on, from the record beside its weights: classes of `imagen.data`
    only. They read files, and may draw or index pictures into the cache that they name; the hub is asked only where the
    environment allows it (HF_HUB_OFFLINE=0). `where` is the place of `config` in its file.

    Raises:
        UserError: also for an interpolation, and for arguments without names.
    """
    refuse_interpolations(config, where)
    return _checked_instantiate(config, ("imagen.data.",), frozenset(), {}, where, all_named=True)


def as_dict(config: Any, resolve: bool = True) -> dict[str, Any]:
    """A mapping of OmegaConf as plain dictionaries, lists and values, its interpolations resolved or as they are."""
    content: Any = OmegaConf.to_container(config, resolve=resolve)
    return content


def resolved(config: Any) -> Any:
    """`config` (of OmegaConf, or plain) as plain mappings, lists and values, its interpolations resolved: once.

    Raises:
        UserError: if a text still holds an interpolation, which a second resolving would evaluate.
    """
    plain = OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config
    refuse_interpolations(plain, _place(config), LEFT_OVER)
    return plain


def configuration_of(thing: Any) -> Any:
    """The configuration that `instantiate` makes an equal object from: plain values with a `_target_` and every field.

    Cache keys are made of it. So a field that a class got later, `field(default=..., metadata={"added_later": True})`,
    is left out as long as it has its default: an object is described as it was before the field existed.

    Raises:
        UserError: for an object whose fields are not all known: it is no dataclass, or keeps more than its fields.
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, Mapping):
        return {str(key): configuration_of(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [configuration_of(value) for value in thing]
    kind = type(thing)
    described = fields(thing) if is_dataclass(thing) else ()
    if not is_dataclass(thing) or not vars(thing).keys() <= {field.name for field in described}:
        raise UserError(
            f"{kind.__module__}.{kind.__qualname__} cannot be described: make the class a dataclass, with all that its "
            "results depend on as fields"
        )
    values = {field.name: getattr(thing, field.name) for field in described if not is_unused_addition(field, thing)}
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}"} | {
        name: configuration_of(value) for name, value in values.items()
    }


def is_unused_addition(field: Field, thing: Any) -> bool:
    """Whether the class got this field later, and the object leaves it at its default."""
    return bool(field.metadata.get("added_later")) and getattr(thing, field.name) == field.default


def refuse_interpolations(
    config: Any, where: str, reason: str = "is an interpolation: what comes with weights must hold plain values"
) -> None:
    """Raises UserError, which gives the `reason`, if a string in `config` contains an interpolation; `where` prefixes
    its key in the message."""
    for place, text in _texts(config, where):
        if "${" in text:
            raise UserError(f"{place}={text!r:.120} {reason}")


def _place(config: Any) -> str:
    """The dotted key at which a node stands in the configuration that it is a part of."""
    return (OmegaConf.is_config(config) and config._get_full_key(None)) or "config"


def _offline(node: Any, where: str) -> Any:
    """A copy in which nothing may open a connection: training has fetched the files if there are any."""
    if isinstance(node, Mapping):
        _refuse_positions(node, where)
        deeper = {key: _offline(value, f"{where}.{key}") for key, value in node.items()}
        return deeper | ({"local_files_only": True} if "local_files_only" in node else {})
    return [_offline(value, f"{where}.{i}") for i, value in enumerate(node)] if isinstance(node, list) else node


def _refuse_positions(node: Mapping, where: str) -> None:
    if "_args_" in node:
        raise UserError(f"{where}._args_: what comes with weights must name its arguments")


def _checked_instantiate(
    config: Any,
    packages: tuple[str, ...],
    names: frozenset[str],
    kwargs: dict,
    where: str | None = None,
    all_named: bool = False,
) -> Any:
    import hydra.utils
    from hydra.errors import InstantiationException

    plain = resolved(config)
    refuse_interpolations([value for value in kwargs.values() if isinstance(value, str)], "arguments")
    for place, node in _targets(plain, where or _place(config)):
        check_arguments(_checked_target(node["_target_"], place, packages, names), node, place)
        if all_named:
            _refuse_positions(node, place)
    try:
        return hydra.utils.instantiate(plain, _convert_="all", **kwargs)  # plain lists and dicts, not OmegaConf's
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, TypeError | ValueError | RuntimeError):  # RuntimeError: of torch, as for absurd sizes
            raise UserError(f"{' '.join(str(cause).split())} (while building {_first_target(plain)})") from error
        raise


def _targets(node: Any, where: str) -> Iterator[tuple[str, Mapping]]:
    """Every mapping below `node` that has a `_target_`, with the dotted place where it stands."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield where, node
        for key, value in node.items():
            yield from _targets(value, f"{where}.{key}")
    elif isinstance(node, Sequence) and not isinstance(node, str | bytes):
        for index, value in enumerate(node):
            yield from _targets(value, f"{where}.{index}")


def _texts(node: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every string below `node`, keys too, with its dotted place."""
    if isinstance(node, str):
        yield where, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield f"{where}.{key}", str(key)
            yield from _texts(value, f"{where}.{key}")
    elif isinstance(node, Sequence):
        for index, value in enumerate(node):
            yield from _texts(value, f"{where}.{index}")


def _first_target(plain: Any) -> str:
    return next((str(node["_target_"]) for _, node in _targets(plain, "")), "the configuration")


def _checked_target(target: Any, where: str, packages: tuple[str, ...], names: frozenset[str]) -> Any:
    """What `target` names. Raises UserError if that is not allowed."""
    if isinstance(target, str) and target in names:
        return _resolve(target, where)
    if not isinstance(target, str) or not (target.startswith(packages) or in_a_plugin(target)):
        raise UserError(f"{where}._target_={target!r} is not allowed: {_way_out(_module_of(target), packages)}")
    thing = _resolve(target, where)
    # `imagen.x.os.system` starts like ours and is not: what counts is where the object was defined.
    defined_in = getattr(thing, "__module__", None) or ""
    if not inspect.isclass(thing):
        raise UserError(f"{where}._target_={target!r} is not a class; a function must be listed in its gate")
    if not (defined_in.startswith(packages) or in_a_plugin(defined_in)):
        raise UserError(
            f"{where}._target_={target!r} is not allowed, for it is defined in {defined_in}: "
            f"{_way_out(defined_in, packages)}"
        )
    return thing


def _module_of(target: Any) -> str:
    return target.rpartition(".")[0] if isinstance(target, str) else ""


def _way_out(module: str, packages: tuple[str, ...]) -> str:
    """What to name instead, and how to allow the classes of `module` where it may be the user's."""
    ours = f"name something from {' or '.join(package + '*' for package in packages)}"
    if not may_be_plugin(module) or module.split(".")[0] in FRAMEWORKS:
        return ours
    return f"{ours}, or, if you trust {module}, add plugins=[{module}] to the command line"


def _resolve(target: str, where: str) -> Any:
    """Import the longest module prefix of `target`, then take attributes that are public."""
    parts = target.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError as error:
            if error.name and not target.startswith(error.name):
                raise UserError(f"{where}._target_={target!r} needs the package {error.name!r}: install it") from error
            continue
        for part in parts[end:]:
            if part.startswith("_") or not hasattr(thing, part):
                raise UserError(f"{where}._target_={target!r}: {thing.__name__!r} has no public {part!r}")
            thing = getattr(thing, part)
        return thing
    raise UserError(f"{where}._target_={target!r} does not exist")
