"""The error messages for missing keys."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from imagen.commandline.config_errors import explain
from imagen.places import ROOT


@pytest.mark.parametrize(
    ("command", "overrides", "expected"),
    [
        (
            "evaluate",
            ["metrics.reference.source.path=/x"],
            "source.path; it exists only with metrics=published or metrics=published_all",
        ),
        ("evaluate", ["metrics=published", "metrics.reference.seed=3"], "it exists only with metrics=shapes"),
        ("train", ["stage.conditioner.low_resolution=8"], "it exists only with stage=sr1 or stage=sr2"),
        ("train", ["text=none", "text.encoder.path=x"], " or others"),
        ("sample", ["guidance.weights=[1]"], "it is one of evaluate.py"),
        ("sample", ["optimisation.warmup=1"], "it is one of imagen train-judge"),
        ("evaluate", ["metrics.reference.path=/x"], "it exists only with metrics=own"),
        ("train", ["stage.optimizer.lrr=1"], "did you mean stage.optimizer.lr?"),
        ("sample", ["guidance_weight=3"], "did you mean guidance_weights?"),
        ("train", ["zzzzqqq=1"], "--cfg job prints every key"),
    ],
)
def test_a_key_is_named_with_the_choice_or_the_command_that_has_it(command, overrides, expected):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"), pytest.raises(HydraException) as caught:
        compose(command, overrides=overrides)
    said = explain(caught.value, ROOT / "conf", command)
    assert said.startswith(f"no such key: {overrides[-1].partition('=')[0]};")
    assert said.endswith(expected)
