"""Classes of a user's own package: named on the command line, never by a file."""

import sys
from pathlib import Path

import pytest
from small_configurations import SMALL

from imagen.app.sample import sample
from imagen.app.train import train
from imagen.commandline.command import command
from imagen.errors import UserError
from imagen.instantiation import instantiate, instantiate_saved_text, instantiate_stage_part
from imagen.plugins import using_plugins
from imagen.runs.folder import RunFolder
from imagen.stages.export import read_description

NETWORKS = """
import os
from imagen.networks.levels import LevelSpec
from imagen.networks.unet import UNet

class Mine(UNet):
    pass

class Plain:
    pass

def function():
    pass
"""
MINE = """# @package stage.denoiser.network
defaults: [base_tiny]
_target_: my_lab.networks.Mine
"""


@pytest.fixture
def lab(tmp_path):
    """A folder that holds the package my_lab, and a conf/ in which stage/network=mine is its network."""
    folder = tmp_path / "lab"
    (folder / "my_lab").mkdir(parents=True)
    (folder / "my_lab" / "__init__.py").write_text("")
    (folder / "my_lab" / "networks.py").write_text(NETWORKS)
    (folder / "my_lab" / "broken.py").write_text("import nothing_of_that_name\n")
    (folder / "conf" / "stage" / "network").mkdir(parents=True)
    (folder / "conf" / "stage" / "network" / "mine.yaml").write_text(MINE)
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "my_lab"]:
        del sys.modules[name]


def test_a_network_of_ones_own_trains_resumes_exports_and_samples_where_it_is_named(lab, compose_config, monkeypatch):
    monkeypatch.chdir(lab)  # where the package is searched for
    small = [value for value in SMALL if not value.startswith("stage.")]
    mine = [
        f"hydra.searchpath=[file://{lab / 'conf'}]",
        "stage/network=mine",
        *small,
        "callbacks=minimal",
        "logger=none",
    ]
    start, longer = compose_config("train", *mine), compose_config("train", *mine, "trainer.max_steps=3")
    sampling = ["prompt=a", "sampler.num_steps=1", "count=1", "cascade.device=cpu"]
    pictures = compose_config("sample", *sampling, f"out={lab / 'out'}")
    for run, config in ((train, start), (train, longer), (sample, pictures)):
        with pytest.raises(
            UserError, match=r"Mine' is not allowed: .* if you trust .*, add plugins=\[my_lab\.networks\]"
        ):
            run(config)
        with using_plugins(["my_lab.networks"]):
            run(config)
    assert read_description(RunFolder(Path(start.run_dir)).export).step == 3
    assert (lab / "out" / "base" / "00000.png").is_file()


GATES = [instantiate, instantiate_stage_part, instantiate_saved_text]


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.__name__)
def test_every_gate_opens_for_the_classes_of_a_plugin_and_closes_again(gate, lab, monkeypatch):
    monkeypatch.chdir(lab)
    spec = {"_target_": "my_lab.networks.Plain"}
    with pytest.raises(UserError, match="is not allowed"):
        gate(spec)
    with using_plugins(["my_lab.networks"]):
        assert type(gate(spec)).__name__ == "Plain"
    with pytest.raises(UserError, match="is not allowed"):
        gate(spec)
    assert str(lab) not in sys.path


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("my_lab.networks.function", "is not a class"),
        ("my_lab.networks.os.system", "is not a class"),
        ("my_lab.networks.os._wrap_close", "has no public '_wrap_close'"),
        ("my_lab.networks.LevelSpec.__class__", "has no public '__class__'"),
        ("my_labs.networks.Mine", "is not allowed"),
        ("my_lab.other.Mine", r"add plugins=\[my_lab\.other\]"),
        ("subprocess.Popen", r"name something from imagen\.\*$"),
        ("torch.nn.Linear", r"name something from imagen\.\*$"),
    ],
)
def test_a_plugin_lets_through_its_own_classes_and_nothing_that_it_imports(target, reason, lab, monkeypatch):
    monkeypatch.chdir(lab)
    with using_plugins(["my_lab.networks"]), pytest.raises(UserError, match=reason):
        instantiate({"_target_": target})


def test_a_class_that_a_plugin_imports_from_elsewhere_is_refused_with_where_it_is_defined(lab, monkeypatch):
    (lab / "my_lab" / "__init__.py").write_text("from other_lab import Theirs\n")
    (lab / "other_lab.py").write_text("class Theirs:\n    pass\n")
    monkeypatch.chdir(lab)
    with using_plugins(["my_lab"]), pytest.raises(UserError, match=r"defined in other_lab: .*plugins=\[other_lab\]"):
        instantiate({"_target_": "my_lab.Theirs"})


@pytest.mark.parametrize(
    ("package", "reason"),
    [
        ("my_lab.netwroks", r"cannot be imported \(ModuleNotFoundError: No module named 'my_lab\.netwroks'\)"),
        ("my_lab.broken", r"cannot be imported \(ModuleNotFoundError: No module named 'nothing_of_that_name'\)"),
        ("subprocess", "Python's modules"),
        ("os.path", "Python's modules"),
        ("imagen.data", "those of imagen"),
        ("my lab", "name a package of your own"),
        ("", "name a package of your own"),
    ],
)
def test_what_cannot_be_a_plugin_is_refused_in_one_line(package, reason, lab, monkeypatch):
    monkeypatch.chdir(lab)
    with pytest.raises(UserError, match=reason) as refused, using_plugins([package]):
        pass
    assert "\n" not in str(refused.value)


def test_a_file_cannot_name_plugins(lab, monkeypatch, capsys):
    (lab / "conf" / "debug").mkdir()
    (lab / "conf" / "debug" / "sly.yaml").write_text("# @package _global_\nplugins: [my_lab.networks]\n")
    monkeypatch.chdir(lab)
    given = ["train.py", f"--config-dir={lab / 'conf'}", f"paths.runs={lab}", "debug=sly"]
    for arguments, code in ((given, 2), ([*given, "plugins=[my_lab.networks]"], 0)):
        monkeypatch.setattr("sys.argv", list(arguments))
        with pytest.raises(SystemExit) as ended:
            command("train")(lambda config: None)()
        assert ended.value.code == code
    assert "plugins=[my_lab.networks] stands in a file" in capsys.readouterr().err
