"""The gate between configuration and objects."""

import pytest

from imagen.errors import UserError
from imagen.instantiation import instantiate, instantiate_stage_part

PAYLOADS = [
    "os.system",
    "subprocess.run",
    "builtins.eval",
    "builtins.exec",
    "builtins.open",
    "torch.load",
    "numpy.load",
    "pathlib.Path.unlink",
    "shutil.rmtree",
    "pickle.loads",
    "importlib.import_module",
    "hydra.utils.instantiate",
    "hydra.utils.get_method",
    "imagen.randomness.hashlib.new",
    "imagen.pictures.Path.unlink",
    "imagen.stages.export.torch.load",
    "imagen.instantiation.importlib.import_module",
    "imagen.stages.export.load_file",
    "imagen..os",
    "imagen.files.write_atomically",
    "imagen.stages.export.export_stage",
    "imagen.stages.checkpoint_io.AtomicCheckpointIO.remove_checkpoint",
    "imagen.data.decode.decode",
    "imagen.app.train.train",
    "lightning.pytorch.callbacks.Callback",
]


@pytest.mark.parametrize("target", PAYLOADS)
def test_a_target_outside_this_package_is_refused_before_it_is_called(target, tmp_path):
    marker = tmp_path / "ran"
    with pytest.raises(UserError, match="_target_"):
        instantiate({"nested": [{"_target_": target, "_args_": [f"touch {marker}"]}]})
    assert not marker.exists()


def test_a_target_that_is_not_a_string_is_refused():
    with pytest.raises(UserError, match="not allowed"):
        instantiate({"_target_": ["os.system"]})


def test_our_own_classes_are_built_with_their_nested_parts():
    sampler = instantiate(
        {
            "_target_": "imagen.diffusion.samplers.DDIMSampler",
            "num_steps": 3,
            "spacing": {"_target_": "imagen.diffusion.spacing.UniformTime"},
        }
    )
    assert sampler.num_steps == 3


def test_a_users_mistake_in_an_argument_comes_through_as_such():
    with pytest.raises(UserError, match="nan"):
        instantiate({"_target_": "imagen.diffusion.guidance.ClassifierFreeGuidance", "weight": float("nan")})


def test_an_unknown_argument_names_the_object():
    with pytest.raises(UserError, match=r"while building imagen.diffusion.guidance.ClassifierFreeGuidance"):
        instantiate({"_target_": "imagen.diffusion.guidance.ClassifierFreeGuidance", "wieght": 3})


def test_a_stage_from_elsewhere_may_not_name_a_trainer_or_a_data_set():
    for target in ("lightning.Trainer", "torch.optim.Adam", "imagen.data.image_folder.ImageFolderSource"):
        with pytest.raises(UserError, match="not allowed"):
            instantiate_stage_part({"_target_": target})


def test_a_stage_from_elsewhere_may_not_read_the_environment(monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    for value in ("${oc.env:SECRET}", ["x${oc.env:SECRET}"], {"${oc.env:SECRET}": 1}):
        with pytest.raises(UserError, match="interpolation") as caught:
            instantiate_stage_part({"_target_": "imagen.diffusion.parameterisations.VPrediction", "x": value})
        assert "hunter2" not in str(caught.value)


def test_a_function_of_this_package_is_called_only_if_it_is_listed(tmp_path):
    target = {"_target_": "imagen.files.write_atomically", "path": str(tmp_path / "ran"), "content": b"x"}
    with pytest.raises(UserError, match="listed in its gate"):
        instantiate(target)
    with pytest.raises(UserError, match="not a class"):
        instantiate_stage_part({"_target_": "imagen.stages.lr.warmup_then_cosine"})
    assert list(tmp_path.iterdir()) == []
