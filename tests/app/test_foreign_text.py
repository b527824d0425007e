"""Other people's text stays text: it is never evaluated as configuration and never controls the terminal."""

import io
import logging
from pathlib import Path

import pytest
from handed_in import FAST
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from png_settings import read_settings
from small_stages import export_readers_of_shapes_t5

from imagen.app.ablation import Workplace
from imagen.app.sample import sample
from imagen.checks.names import printable
from imagen.commandline.arguments import override
from imagen.commandline.command import prepare_environment, run_reporting_errors
from imagen.commandline.config_errors import check_configuration
from imagen.errors import UserError
from imagen.progress import track
from imagen.sampling import processes
from imagen.sampling.curves import changed

PROMPTS = ["a ${oc.env:IMAGEN_TEST_TEXT} circle", "a ${seed} square", "a ${x} ring", "${", "???", r"a \${seed} cross"]


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return export_readers_of_shapes_t5(tmp_path_factory.mktemp("stages"))


def sampled(place, stages, *overrides):
    small = [override for override in FAST if not override.startswith("prompt=")]
    config = place("sample", *small, f"cascade.stages=[{','.join(map(str, stages))}]", *overrides)
    check_configuration(config)
    sample(config)


def test_prompts_of_a_file_are_stored_as_they_stand_there(compose_config, stages, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEN_TEST_TEXT", "hunter2")
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS), encoding="utf-8")
    sampled(compose_config, stages, f"prompts_file={tmp_path}/prompts.txt", f"out={tmp_path}/out")
    for role in ("base", "sr1"):
        said = [read_settings(path) for path in sorted((tmp_path / "out" / role).glob("*.png"))]
        assert [settings["prompt"] for settings in said] == PROMPTS
    assert read_settings(tmp_path / "out" / "grid.png")["prompts"] == PROMPTS
    assert said[0]["stages"][-1]["sampler"]["_target_"].endswith("DPMSolverPP2M")


def test_a_prompt_of_the_command_line_is_resolved_once_and_can_be_escaped(compose_config, stages, tmp_path):
    sampled(compose_config, stages, r"prompt=['a \${x} ring','a ${seed} ring']", f"out={tmp_path}/out")
    said = [read_settings(path)["prompt"] for path in sorted((tmp_path / "out" / "base").glob("*.png"))]
    assert said == ["a ${x} ring", "a 0 ring"]


def test_a_prompt_that_names_no_key_is_refused_before_anything_is_loaded(compose_config, capsys):
    config = compose_config("sample", "prompt='a ${x} ring'")
    assert run_reporting_errors(lambda: check_configuration(config)) == 2
    assert capsys.readouterr().err == (
        "error: prompt: Interpolation key 'x' not found; "
        "for the signs themselves write \\${, or use prompts_file=FILE\n"
    )


@pytest.mark.parametrize("prompt", ["7", "true", "1e3", "[a ring,7]", "{a: b}"])
def test_a_prompt_that_is_no_text_is_refused(prompt, compose_config, stages):
    with pytest.raises(UserError, match="is not text; quote it twice"):
        sampled(compose_config, stages, f"prompt={prompt}")


def test_what_is_left_to_be_resolved_is_refused_wherever_it_stands(compose_config, monkeypatch):
    monkeypatch.setenv("IMAGEN_TEST_TEXT", "${oc.env:HOME}")
    config = compose_config("evaluate", "metrics.judges.a.name=${oc.env:IMAGEN_TEST_TEXT}")
    with pytest.raises(UserError, match=r"^metrics\.judges\.a\.name='\$\{oc\.env:HOME\}' is an interpolation"):
        check_configuration(config)
    with pytest.raises(UserError, match="is an interpolation"), processes.helping_processes(config):
        raise AssertionError("helpers were started")


@pytest.mark.parametrize("where", ["settings", "changes"])
def test_a_curve_is_not_resolved_again(where, compose_config):
    text = {"sampler": {"_target_": r"\${oc.env:HOME}"}}
    config = compose_config("evaluate")
    if where == "settings":
        config = OmegaConf.merge(config, text)
    changes = OmegaConf.create(text if where == "changes" else {})
    with pytest.raises(UserError, match=r"sampler.*='\$\{oc\.env:HOME\}' is an interpolation"):
        changed(config, changes, "guidance.curves.x")


@pytest.mark.parametrize(
    "text", ["/my runs", "/a,b (c)", "/a'b", r"/a\'b", "/a\\b", "/a\\", "/[a]{b}", "true", "7", '/"', ""]
)
def test_a_folder_is_handed_to_a_command_as_it_is_called(text):
    assert OverridesParser.create().parse_override(override("paths.runs", text)).value() == text
    for said in Workplace(Path("/x") / text).paths:
        assert Path(OverridesParser.create().parse_override(said).value()).parent == Path("/x") / text


def test_escape_codes_in_an_error_reach_no_terminal(capsys):
    def fail() -> None:
        raise UserError("name='\x1b[2J\x9b31m' \x07is not a name")

    assert run_reporting_errors(fail) == 2
    assert capsys.readouterr().err == "error: name='\\x1b[2J\\x9b31m' \\x07is not a name\n"


def test_escape_codes_in_the_name_of_a_file_that_fails_reach_no_terminal(capsys, tmp_path):
    assert run_reporting_errors(lambda: (tmp_path / "\x1b[2J").open()) == 3
    assert "\x1b" not in capsys.readouterr().err


def test_escape_codes_in_a_warning_reach_no_terminal():
    prepare_environment()
    record = logging.LogRecord("x", logging.WARNING, "x", 1, "skipped: %s\nsecond", ("\x1b[2J",), None)
    assert logging.lastResort.format(record) == "skipped: \\x1b[2J\nsecond"


@pytest.mark.parametrize("name", ["pictures[/x]", "[red]old", "\x1b[2J"])
def test_brackets_and_escape_codes_in_the_name_of_a_folder_are_no_markup_on_a_terminal(name, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "200")
    assert list(track([1, 2], f"Checking {name}")) == [1, 2]
    assert printable(name) in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()


def test_a_stage_in_a_folder_with_escape_codes_is_announced_without_them(compose_config, stages, tmp_path, capsys):
    folder = tmp_path / "\x1b[31mbase"
    folder.symlink_to(stages[0])
    small = [override for override in FAST if not override.startswith("prompt=")]
    config = compose_config("sample", *small, "prompt=a ring", f"out={tmp_path}/out")
    config.cascade.stages = [str(folder)]
    sample(config)
    said = capsys.readouterr().out
    assert "\\x1b[31mbase" in said
    assert "\x1b" not in said
