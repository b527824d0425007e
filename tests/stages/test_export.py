"""Exported stages."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_stages import COSINE, denoiser_config, export_random_stage, small_cascade

from imagen.checks.worlds import World
from imagen.errors import UserError
from imagen.files import sha256_of_file
from imagen.stages.conditioners import LowResConditioner
from imagen.stages.export import load_stage, read_description


def test_an_exported_stage_comes_back_with_every_weight(tmp_path):
    stage = small_cascade(tmp_path)[1]
    state = load_file(tmp_path / "sr1" / "model.safetensors")
    for name, tensor in stage.model.denoiser.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=0)
    assert stage.description.low_resolution == 8
    assert isinstance(stage.model.conditioner, LowResConditioner)
    assert not any(parameter.requires_grad for parameter in stage.model.denoiser.parameters())


def test_a_kill_between_new_weights_and_their_description_leaves_no_stage(tmp_path, monkeypatch):
    export_random_stage(tmp_path, "base", 8, None)

    def killed(description):
        raise KeyboardInterrupt

    monkeypatch.setattr("imagen.stages.export.default_card", killed)
    with pytest.raises(KeyboardInterrupt):
        export_random_stage(tmp_path, "base", 8, None)
    assert not (tmp_path / "config.json").exists()


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_identity_of_a_stage_is_all_but_how_it_came_to_be_and_where_its_encoder_is(tmp_path):
    export_random_stage(tmp_path, "base", 8, None)
    before = read_description(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text())
    text_source = {"_target_": "imagen.text.sources.NoText", "features": 8}
    history = {"step": 9, "images_seen": 9, "init_from": "0" * 64, "text_source": text_source}
    history["trained_on"] = World("the pictures in a", "ImageFolderSource", "0" * 64).as_record()
    parameterisation = {"_target_": "imagen.diffusion.parameterisations.EpsPrediction"}
    decisive = {
        "name": "sr1",
        "resolution": 16,
        "low_resolution": 8,
        "denoiser": fields["denoiser"] | {"parameterisation": parameterisation},
        "schedule": fields["schedule"] | {"log_snr_max": 5.0},
        "augmentation": fields["schedule"],
        "text": None,
        "weights_sha256": "0" * 64,
    }
    assert {*history, *decisive, "format_version"} == fields.keys()
    for change, same in ((history, True), *(({name: value}, False) for name, value in decisive.items())):
        edit(tmp_path, **change)
        assert (read_description(tmp_path).identity == before.identity) is same, change
        edit(tmp_path, **fields)


def test_what_was_changed_or_damaged_is_refused_in_one_line(tmp_path):
    export_random_stage(tmp_path, "base", 8, None)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match="changed or damaged"):
        load_stage(tmp_path)
    weights.write_bytes(whole[:100])
    edit(tmp_path, weights_sha256=sha256_of_file(weights))
    with pytest.raises(UserError, match="export the stage again"):
        load_stage(tmp_path)
    weights.unlink()
    with pytest.raises(UserError, match="is missing"):
        load_stage(tmp_path)


def test_tensors_of_the_wrong_shape_are_listed(tmp_path):
    export_random_stage(tmp_path, "base", 8, None)
    weights = tmp_path / "model.safetensors"
    state = load_file(weights)
    name = next(iter(state))
    save_file(state | {name: torch.zeros(1), "extra": torch.zeros(2)}, weights)
    edit(tmp_path, weights_sha256=sha256_of_file(weights))
    with pytest.raises(UserError, match=r"2 tensors do not fit.*extra: expected None, found \(2,\)"):
        load_stage(tmp_path)


def test_a_configuration_that_names_something_else_to_call_runs_nothing(tmp_path):
    export_random_stage(tmp_path, "base", 8, None)
    marker = tmp_path / "ran"
    edit(tmp_path, schedule={"_target_": "os.mkdir", "_args_": [str(marker)]})
    with pytest.raises(UserError, match="not allowed"):
        load_stage(tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format_version": 99}', '{"format_version": 1}', "\x00"])
def test_a_description_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        load_stage(tmp_path)


def test_an_empty_folder_says_what_is_missing(tmp_path):
    with pytest.raises(UserError, match=r"no exported stage.*train\.py"):
        load_stage(tmp_path)


DISTILLED = {"teacher": "0" * 64, "up_to": 8.0, "steps": 4, "spacing": None, "thresholding": {}}
BY_POSITION = {
    "_target_": "imagen.diffusion.denoiser.Denoiser",
    "_args_": [value for name, value in denoiser_config(False).items() if name != "_target_"],
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "../../elsewhere"}, "is not a name"),
        ({"name": "/tmp/elsewhere"}, "is not a name"),
        ({"name": "\x1b[2Jbase"}, "is not a name"),
        ({"denoiser": None}, "denoiser is null, expected dict"),
        ({"resolution": "8"}, "resolution is str '8', expected a whole number"),
        ({"resolution": -1}, "resolution is -1, expected 1 to"),
        ({"low_resolution": 1 << 40}, "low_resolution is 1099511627776, expected 1 to"),
        ({"weights_sha256": 5}, "weights_sha256 is int 5, expected text"),
        ({"more": 1}, "unknown field 'more'"),
        ({"distilled": {"teacher": 5}}, "distilled: teacher is int 5, expected text"),
        ({"distilled": DISTILLED | {"steps": 0}}, "distilled: steps is 0, expected at least 1 or null"),
        ({"text": {"model": "none"}}, "text.features is None, expected 1 to 65536"),
        ({"text": {"model": "none", "features": "abc"}}, "text.features is 'abc', expected 1 to 65536"),
        ({"text": {"model": "none", "features": 10**13}}, "text.features is 10000000000000, expected 1 to 65536"),
        ({"denoiser": BY_POSITION}, "config._args_: what comes with weights must name its arguments"),
        ({"schedule": {"_target_": "imagen.diffusion.parameterisations.VPrediction"}}, "no NoiseSchedule"),
    ],
)
def test_a_description_of_a_stranger_is_checked_field_by_field(changes, said, tmp_path):
    export_random_stage(tmp_path, "base", 8, None)
    edit(tmp_path, **changes)
    with pytest.raises(UserError) as error:
        load_stage(tmp_path)
    assert said in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(("features", "said"), [(1 << 20, "tensors do not fit"), (1 << 40, "overflow")])
def test_a_network_larger_than_its_weights_is_refused_before_it_is_allocated(features, said, tmp_path):
    export_random_stage(tmp_path, "base", 8, None)
    asked = denoiser_config(False)
    asked["network"]["embedding_features"] = features  # its square is the number of weights: 4 TiB and more
    edit(tmp_path, denoiser=asked)
    with pytest.raises(UserError, match=said):
        load_stage(tmp_path)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"step": ' + "1" * 10_000 + "}"])
def test_a_description_that_cannot_be_parsed_is_one_line(content, tmp_path):
    export_random_stage(tmp_path, "base", 8, None)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json: .*; export the stage again$"):
        load_stage(tmp_path)


def test_an_export_goes_through_no_link(tmp_path):
    folder, victim = tmp_path / "stage", tmp_path / "victim"
    folder.mkdir()
    victim.write_text("mine")
    names = ("README.md", "config.json", "model.safetensors", ".model.safetensors.part", ".config.json.part")
    for name in names:
        (folder / name).symlink_to(victim)
    export_random_stage(folder, "base", 8, None)
    assert victim.read_text() == "mine"
    assert load_stage(folder).description.name == "base"


def test_a_conditioner_of_one_s_own_is_written_down_and_comes_back(tmp_path):
    own = {
        "_target_": "imagen.stages.conditioners.LowResConditioner",
        "low_resolution": 4,
        "resolution": 8,
        "augmentation": COSINE | {"log_snr_max": 5.0},
    }
    export_random_stage(tmp_path / "own", "sr1", 8, 4, conditioner=own)
    assert load_stage(tmp_path / "own").model.conditioner.augmentation.log_snr_max == 5.0
    export_random_stage(tmp_path / "imagens", "sr1", 8, 4)
    assert "conditioner" not in json.loads((tmp_path / "imagens" / "config.json").read_text())
    assert "conditioner" not in read_description(tmp_path / "imagens").identity
    edit(tmp_path / "imagens", augmentation=None)
    with pytest.raises(UserError, match="super-resolution stage 'sr1' has no augmentation schedule"):
        load_stage(tmp_path / "imagens")
