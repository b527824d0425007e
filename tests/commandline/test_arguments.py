"""Arguments under former names, and of files that still use them."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from imagen.commandline.arguments import as_hydra_reads_them
from imagen.commandline.config_errors import explain
from imagen.commandline.roles import COMMANDS
from imagen.places import ROOT


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_the_former_name_of_the_network_group_is_read_as_the_present_one_with_a_line(sign, capsys):
    given = ["stage=sr1", f"{sign}stage/unet=sr_micro", "name=stage/unet=x"]
    assert as_hydra_reads_them(given, "train") == ["stage=sr1", f"{sign}stage/network=sr_micro", "name=stage/unet=x"]
    line = "stage/unet is called stage/network now: read as stage/network=sr_micro\n"
    assert capsys.readouterr() == ("", line)


def test_a_file_that_uses_a_former_name_is_told_the_present_one(tmp_path):
    experiment = tmp_path / "experiment"
    experiment.mkdir()
    (experiment / "mine.yaml").write_text("# @package _global_\ndefaults: [{override /stage/unet: base_micro}]\n")
    conf = ROOT / "conf"
    with initialize_config_dir(str(conf), version_base="1.3"), pytest.raises(HydraException) as raised:
        compose("train", overrides=["experiment=mine", f"hydra.searchpath=[file://{tmp_path}]"])
    message = "stage/unet is called stage/network now: change that where the file names it"
    assert explain(raised.value, conf, "train") == message


@pytest.mark.parametrize("argument", ["sampling.nonsense=1", "sampling.sr1.sampler=ddpm", "sr_sampler=ddim"])
def test_a_command_without_settings_by_stage_refuses_them_by_the_name_that_was_typed(argument):
    written = as_hydra_reads_them([argument], "train")
    assert written == [argument]
    assert as_hydra_reads_them([argument], "sample") != written
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"), pytest.raises(HydraException) as raised:
        compose("train", overrides=written)
    key = argument.partition("=")[0]
    assert explain(raised.value, ROOT / "conf", "train").startswith(f"no such key: {key}; ")


def test_the_commands_with_settings_by_stage_are_those_whose_configuration_has_them():
    files = (ROOT / "conf").glob("*.yaml")
    assert {file.stem for file in files if "- sampling: by_role" in file.read_text(encoding="utf-8")} == set(COMMANDS)


def test_a_choice_for_a_stage_that_is_not_there_is_refused_by_the_name_that_was_typed():
    (written,) = as_hydra_reads_them(["sampling.turbo.sampler=ddpm"], "sample")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"), pytest.raises(HydraException) as raised:
        compose("sample", overrides=[written])
    message = "no such key: sampling.turbo.sampler; did you mean sampling.sr2.sampler?"
    assert explain(raised.value, ROOT / "conf", "sample") == message
