"""Hydra's and OmegaConf's errors in one line, with the nearest key that exists."""

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from imagen.commandline.arguments import RENAMED
from imagen.commandline.numbers import check_numbers
from imagen.commandline.roles import as_the_user_writes
from imagen.errors import UserError
from imagen.instantiation import LEFT_OVER, as_dict, refuse_interpolations
from imagen.places import ROOT


def explain(error: Exception, conf: Path, config_name: str) -> str:
    """One line that names the thing, the value and the way out.

    Args:
        error: what was raised while composing, or a UserError.
        conf: folder of the configuration that was being composed.
        config_name: its file there; its keys are searched for the nearest one.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UserError):
        return text
    if match := re.search(r"UserError raised while resolving interpolation: (.*?)(?: full_key:|$)", text):
        return match.group(1)
    if match := re.search(r"Could not override '([^']+)'", text):
        key = as_the_user_writes(match.group(1))
        if key in RENAMED:  # in a file of the user's; on the command line it is read under its present name
            return f"{key} is called {RENAMED[key]} now: change that where the file names it"
        return f"no such key: {key}{_nearest_key(key, conf, config_name)}"
    if match := re.search(r"Could not find '([^']+)'.*\n+Available options in '([^']+)':((?:\n\t\S+)*)", str(error)):
        return _no_such_choice(match.group(1).rsplit("/", 1)[-1], match.group(2), match.group(3).split())
    if match := re.search(r"Missing mandatory value: (\S+)", text):
        return missing(match.group(1))
    if override := getattr(error, "override", None):
        return f"cannot read the override {override!r}: write key=value, and quote what has brackets or blanks"
    key = getattr(error, "full_key", None)
    reason = re.sub(r"(full_key|object_type|reference_type)[:=].*", "", text).strip()
    line = f"{key}: {reason}" if key and key not in reason else reason
    if "nterpolation" not in reason:
        return line
    return f"{line}; for the signs themselves write \\${{" + (", or use prompts_file=FILE" if key == "prompt" else "")


FORMER_CHOICES = {
    "metrics=own_pictures": "its judges knew the shapes world alone; train judges of your pictures with imagen "
    "train-judge, and take metrics=own",
}
"""Choices that are gone, and what to do instead."""


def _no_such_choice(wanted: str, group: str, options: list[str]) -> str:
    if instead := FORMER_CHOICES.get(f"{group}={wanted}"):
        return f"{group}={wanted} is no choice any more: {instead}"
    near = difflib.get_close_matches(wanted, options, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{group}={wanted}: no such choice; {hint}choices: {', '.join(options)}"


def _nearest_key(key: str, conf: Path, config_name: str) -> str:
    """The hint for an unknown key: the choice or the command that has it, or the nearest key."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3"):
        if choices := _choices_with(key, conf, config_name):
            return f"; it exists only with {' or '.join(choices[:4])}{' or others' if len(choices) > 4 else ''}"
        known = _known_keys(config_name)
        others = [path.stem for path in sorted(conf.glob("*.yaml")) if path.stem != config_name]
        if commands := [_command(name) for name in others if key in _known_keys(name)]:
            return f"; it is one of {' and '.join(commands)}"
    return nearest_key(key, known)


def _command(config_name: str) -> str:
    """What composes conf/<config_name>.yaml: a script of the checkout, or a command of `imagen`."""
    script = f"{config_name}.py"
    return script if (ROOT / script).is_file() else f"imagen {config_name.replace('_', '-')}"


def nearest_key(key: str, known: Sequence[str]) -> str:
    """The hint for an unknown key: the nearest of `known`, or how to list them all."""
    same_name = [candidate for candidate in known if candidate.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    near = (
        difflib.get_close_matches(key, known, n=1, cutoff=0.9)  # a slip of the pen
        or difflib.get_close_matches(key, same_name or known, n=1)
        or same_name[:1]
    )
    return f"; did you mean {near[0]}?" if near else "; python <entry>.py --cfg job prints every key"


def _choices_with(key: str, conf: Path, config_name: str) -> list[str]:
    """Every `group=choice` that has `key`, among the groups that `key` could belong to."""
    from hydra import compose
    from hydra.errors import HydraException

    chosen = compose(config_name, return_hydra_config=True).hydra.runtime.choices
    choices = []
    for group in chosen:
        place, _, package = group.partition("@")
        if group.startswith("hydra/") or not f"{key}.".startswith(f"{package or place.replace('/', '.')}."):
            continue
        for choice in sorted(path.stem for path in (conf / place).glob("*.yaml")):
            with suppress(HydraException):
                if key in _known_keys(config_name, f"{group}={choice}"):
                    choices.append(f"{group}={choice}")
    return choices


def _known_keys(config_name: str, *overrides: str) -> list[str]:
    from hydra import compose

    return list(keys_of(OmegaConf.to_container(compose(config_name, overrides=list(overrides)), resolve=False)))


def keys_of(node: object, prefix: str = "") -> Iterator[str]:
    """The dotted keys of nested dictionaries."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from keys_of(value, f"{prefix}{key}.")


def check_configuration(config: DictConfig) -> None:
    """Refuse what would fail late or far away, or be written into files that people pass on.

    Raises:
        UserError: for mandatory values that are missing, secrets of the environment, interpolations that are left after
            resolving (except in `prompt`, which is text), and values of another type than their key needs.
    """
    for name in re.findall(r"\$\{oc\.env:\s*([^,}\s]*)", str(OmegaConf.to_container(config, resolve=False))):
        if re.search("TOKEN|SECRET|PASS|KEY|CREDENTIAL", name, re.IGNORECASE):
            raise UserError(
                f"${{oc.env:{name}}} looks like a secret, and the configuration is saved with the run: leave it in the "
                "environment"
            )
    for key in sorted(OmegaConf.missing_keys(config)):
        raise UserError(missing(key))
    for key, value in as_dict(config).items():
        if key != "prompt":
            refuse_interpolations(value, key, LEFT_OVER)
    if "text_features" in config and config.text_features is None:  # a training that leaves the encoder to its stages
        raise UserError("text=stage is for sample.py and evaluate.py; name a text encoder, such as text=shapes_t5")
    check_numbers(config)


def refuse_endless_numbers(arguments: Sequence[str]) -> None:
    """Raises UserError for digits in thousands, which Python converts to no number and Hydra does not expect."""
    for argument in arguments:
        if re.search(r"[0-9_]{4000}", argument):
            raise UserError(f"{argument:.40}...: a number of thousands of digits; give a shorter one")


def missing(key: str) -> str:
    """The error for a mandatory value that was not given."""
    return f"{key} has no value: give it on the command line as {key}=..."
