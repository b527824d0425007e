"""The gate between configuration and objects."""

from dataclasses import dataclass, field

import pytest
import torch
from omegaconf import OmegaConf

from imagen.diffusion.samplers import DDIMSampler
from imagen.errors import UserError
from imagen.instantiation import configuration_of, instantiate, instantiate_stage_part, resolved

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
    "imagen.data.reading.decode.decode",
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


COPIES = r'\${oc.create:"{_target_: shutil.copyfile, src: /etc/hostname, dst: %s}"}'


@pytest.mark.parametrize("gate", [instantiate, instantiate_stage_part], ids=lambda gate: gate.__name__)
@pytest.mark.parametrize("wrapped", [False, True], ids=["config", "config in a plain mapping"])
def test_what_is_left_to_be_resolved_is_refused_and_never_resolved(gate, wrapped, tmp_path):
    config = OmegaConf.create(
        {
            "t": {
                "_target_": "imagen.diffusion.thresholding.DynamicThresholding",
                "percentile": COPIES % (tmp_path / "x"),
            }
        }
    ).t
    with pytest.raises(UserError, match=r"percentile='\$\{oc\.create.* is an interpolation"):
        gate({**config} if wrapped else config)
    assert list(tmp_path.iterdir()) == []


def test_an_argument_that_is_added_is_not_resolved_either():
    with pytest.raises(UserError, match="is an interpolation"):
        instantiate({"_target_": "imagen.diffusion.guidance.ClassifierFreeGuidance"}, weight="${oc.env:HOME}")


def test_a_configuration_is_resolved_once(monkeypatch):
    monkeypatch.setenv("IMAGEN_TEST_TEXT", "${oc.env:HOME}")
    with pytest.raises(UserError, match=r"^config\.a\.0='\$\{oc\.env:HOME\}' is an interpolation"):
        resolved(OmegaConf.create({"a": ["${oc.env:IMAGEN_TEST_TEXT}"]}))
    assert resolved(OmegaConf.create({"a": 1, "b": ["${a}"]})) == {"a": 1, "b": [1]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_steps": 1.5}, r"config\.num_steps=1\.5 must be a whole number"),
        ({"num_steps": True}, r"config\.num_steps=True must be a whole number"),
        ({"num_steps": None}, r"config\.num_steps=None must be a whole number"),
        ({"num_steps": 3, "spacing": 3}, r"config\.spacing=3 must be"),
        (
            {"num_steps": 3, "spacing": {"_target_": "imagen.diffusion.spacing.RhoSpacing", "rho": "7"}},
            r"config\.spacing\.rho='7' must be a finite number",
        ),
    ],
)
def test_values_are_held_to_the_types_of_the_signature(values, message):
    with pytest.raises(UserError, match=message):
        instantiate({"_target_": "imagen.diffusion.samplers.DDIMSampler", **values})


def test_the_place_in_an_error_is_the_key_that_a_user_can_set():
    config = OmegaConf.create({"sr_sampler": {"_target_": "imagen.diffusion.samplers.DDIMSampler", "num_steps": True}})
    with pytest.raises(UserError, match=r"^sr_sampler\.num_steps=True"):
        instantiate(config.sr_sampler)


@dataclass(frozen=True)
class Described:
    strength: float
    parts: tuple[int, ...] = (1, 2)
    later: str = field(default="off", metadata={"added_later": True})


class Sneaky(DDIMSampler):
    def __init__(self, num_steps: int, secret: int) -> None:
        super().__init__(num_steps)
        object.__setattr__(self, "secret", secret)


def test_an_object_is_described_by_the_configuration_that_makes_it():
    target = f"{__name__}.Described"
    assert configuration_of(Described(0.5)) == {"_target_": target, "strength": 0.5, "parts": [1, 2]}
    assert configuration_of(Described(0.5, later="on"))["later"] == "on"
    assert configuration_of({"inside": [Described(1.0)]})["inside"][0]["strength"] == 1.0


@pytest.mark.parametrize("thing", [object(), lambda x0: x0, Sneaky(3, secret=1), Described(strength=torch.ones(3))])
def test_an_object_whose_fields_are_not_all_known_is_not_described(thing):
    with pytest.raises(UserError, match="cannot be described: make the class a dataclass"):
        configuration_of(thing)
