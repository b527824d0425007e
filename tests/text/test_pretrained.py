"""A stranger's folder may bring weights and settings. Code that it brings or names is never run, without a question."""

import json

import pytest
from tiny_models import save_clip, save_t5

from imagen.errors import UserError
from imagen.text.pretrained import load_pretrained

CODE = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """folder("clip", config={…}, tokenizer={…}): a model whose settings were changed, and code beside it."""

    def changed(kind, config=None, tokenizer=None):
        place = {"clip": save_clip, "t5": save_t5}[kind](tmp_path / kind)
        for name, changes in (("config.json", config), ("tokenizer_config.json", tokenizer)):
            path = place / name
            path.write_text(json.dumps(json.loads(path.read_text()) | (changes or {})))
        (place / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
        return place

    asked = []
    monkeypatch.setattr("builtins.input", lambda *arguments: asked.append(arguments) or "n")
    yield changed
    assert asked == []
    assert not (tmp_path / "ran").exists()


def test_a_known_model_that_brings_code_is_loaded_without_it(folder):
    from transformers import AutoTokenizer, CLIPModel

    place = folder("clip", config={"auto_map": CODE}, tokenizer={"auto_map": CODE})
    assert type(load_pretrained(CLIPModel, place)) is CLIPModel
    assert load_pretrained(AutoTokenizer, place)("a red circle")["input_ids"]


@pytest.mark.parametrize("name", ["AutoModel", "AutoTokenizer"])
def test_an_unknown_model_that_brings_code_is_refused_in_one_line(folder, name):
    import transformers

    strange = {"auto_map": CODE, "model_type": "evil", "tokenizer_class": "Evil"}
    place = folder("t5", config=strange, tokenizer=strange)
    with pytest.raises(UserError, match=f"{name} does not load .it brings code of its own, which is never run"):
        load_pretrained(getattr(transformers, name), place)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"attn_implementation": "someone/kernel"}, "attn_implementation='someone/kernel' may be code"),
        ({"_attn_implementation": "flash_attention_2"}, "_attn_implementation='flash_attention_2' may be code"),
        ({"text_config": {"attn_implementation": {"": "someone/kernel"}}}, "may be code"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantised weights are not read"),
    ],
)
def test_settings_that_name_code_elsewhere_are_refused(folder, config, said):
    from transformers import CLIPModel

    with pytest.raises(UserError, match=said):
        load_pretrained(CLIPModel, folder("clip", config=config))


def test_what_transformers_comes_with_may_be_named(folder):
    from transformers import CLIPModel

    model = load_pretrained(CLIPModel, folder("clip", config={"attn_implementation": "eager"}))
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("config", [{"text_config": 3}, {"text_config": {"hidden_size": "x"}}, {"projection_dim": 7}])
def test_settings_that_make_no_model_are_one_line(folder, config):
    from transformers import CLIPModel

    with pytest.raises(UserError, match=r"clip: CLIPModel does not load \([^\n]+\); restore the folder$"):
        load_pretrained(CLIPModel, folder("clip", config=config))


def test_every_loader_of_the_package_goes_through_here():
    from pathlib import Path

    import imagen

    sources = Path(imagen.__file__).parent.rglob("*.py")
    users = [path.name for path in sources if "from_pretrained(" in path.read_text(encoding="utf-8")]
    assert users == ["pretrained.py"]
