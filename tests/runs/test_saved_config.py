"""A run's config.yaml may come from a stranger: content that no run writes is refused quickly, with one line."""

import os
import time

import pytest
from omegaconf import OmegaConf

from imagen.app.ablation import _is_trained
from imagen.app.demo import begun_steps
from imagen.errors import UserError
from imagen.runs.saved_config import MAX_BYTES, max_steps, read_saved, saved_sections

STRANGE = {
    "20,000 lists": ("a: " + "[" * 20_000 + "]" * 20_000, "levels"),
    "20,000 mappings": ("a: " + "{a: " * 20_000 + "1" + "}" * 20_000, "levels"),
    "600 indents": ("".join(" " * i + "a:\n" for i in range(600)), "levels"),
    "60,000 values": ("a: [" + "1," * 60_000 + "1]", "levels or 10000 values"),
    "1 MB": ("a: " + "x" * 1_000_000, f"more than {MAX_BYTES} bytes"),
    "digits": ("a: " + "9" * 5000, r"not YAML \(Exceeds the limit \(4300 digits\).*5000 digits\)"),
    "hexadecimal": ("a: 0x" + "f" * 40_000, "more than 1024 bits"),
    "base 60": ("a: " + "1:" * 5_000 + "1", "more than 1024 bits"),
    "a key": ("? 0x" + "f" * 40_000 + "\n: a", "more than 1024 bits"),
    "alias": ("a: &a [1]\nb: *a", "YAML alias"),
    "tag": ("a: !!python/object:os.system x", "YAML tag"),
    "tag on nothing": ("!!map a", "YAML tag"),
    "null as key": ("null: 1", "not YAML"),
    "not UTF-8": (b"a: \xe9", "not YAML"),
    "half an interpolation": ("a: '${'", "not YAML"),
    "two documents": ("a: 1\n---\nb: 2", "not YAML"),
    "a list": ("- a", "a mapping is expected, found list"),
}


@pytest.mark.parametrize("strange", STRANGE)
def test_what_no_run_writes_is_refused_in_one_line_and_quickly(strange, tmp_path):
    content, said = STRANGE[strange]
    path = tmp_path / "config.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    began = time.process_time()
    with pytest.raises(UserError, match=f"config\\.yaml: .*({said})"):
        read_saved(path)
    assert time.process_time() - began < 3


@pytest.mark.parametrize("text", ["{1: a, b: c}", "{encoder: [{1: a}]}", "{true: a}"])
def test_keys_of_the_text_section_are_names(text, tmp_path):
    (tmp_path / "config.yaml").write_text(f"stage: {{a: 1}}\ntext: {text}")
    with pytest.raises(UserError, match=r"config\.yaml: text has the key (1|True), which is no name"):
        saved_sections(tmp_path / "config.yaml")


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(UserError, match="not a regular file"):
        read_saved(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    "overrides", [[], ["stage=sr2", "stage/network=sr1024_400m", "data=webdataset", "data.path=/x"]]
)
def test_what_a_run_writes_is_read_as_it_was(overrides, compose_config, tmp_path):
    plain = OmegaConf.to_container(compose_config("train", *overrides), resolve=True)
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(plain)), encoding="utf-8")
    assert read_saved(tmp_path / "config.yaml") == plain


def test_nothing_in_it_is_resolved(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEN_TEST_TEXT", "7")
    run = tmp_path / "run"
    (run / "export").mkdir(parents=True)
    (run / "config.yaml").write_text(
        "trainer: {max_steps: '${oc.decode:${oc.env:IMAGEN_TEST_TEXT}}'}", encoding="utf-8"
    )
    assert "IMAGEN_TEST_TEXT" in read_saved(run / "config.yaml")["trainer"]["max_steps"]
    with pytest.raises(UserError, match=r"config\.yaml: trainer\.max_steps='\$\{oc\.decode.*must be a whole number"):
        begun_steps(run)
    monkeypatch.setattr("imagen.runs.folder.RunFolder.exported_step", lambda self: 5)
    with pytest.raises(UserError, match=r"trainer\.max_steps="):
        _is_trained(run)


@pytest.mark.parametrize("config", [{}, {"trainer": None}, {"trainer": {"max_steps": True}}, {"trainer": [1]}])
def test_a_configuration_without_a_number_of_steps_says_so(config, tmp_path):
    with pytest.raises(UserError, match=r"trainer\.max_steps=.* must be a whole number of at least 1"):
        max_steps(config, tmp_path)
