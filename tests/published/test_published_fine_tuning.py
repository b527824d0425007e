"""Training published stages further: their weights whole, or low-rank additions to their attention."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from imagen.app.export import export
from imagen.app.train import train
from imagen.errors import UserError
from imagen.networks.adapters.low_rank import is_addition, name_without
from imagen.planning.plan import Hardware, make_plan
from imagen.published.stage import load_published
from imagen.published.text import PublishedText
from imagen.runs.weights import AVERAGED, load_weights
from imagen.sampling.text_to_image import TextToImage
from imagen.stages.export import read_description

pytest.importorskip("diffusers")
pytest.importorskip("peft")

UNET = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def configured(compose_config, if_base, if_upscaler, tmp_path, monkeypatch):
    """configured("name", *overrides): a run of two steps that starts from a tiny published stage."""
    monkeypatch.setenv("IMAGEN_ROOT", str(tmp_path))

    def config(name, *overrides, stage="base"):
        folder = if_base if stage == "base" else if_upscaler
        text = ["text=deepfloyd", f"text.encoder.path={if_base}", "text.features=16", "text.mode=online"]
        small = ["data.batch_size=4", "data.train.size=64", "data.validation.size=4", "trainer.max_steps=2"]
        few = ["debug=default", "trainer.accelerator=cpu", "stage.optimizer.lr=1e-3", "callbacks=minimal"]
        start = [f"stage={stage}", f"init_from={folder}", f"name={name}"]
        return compose_config("train", *start, *text, *small, *few, *overrides)

    return config


def trained(config):
    train(config)
    return Path(config.run_dir)


def checkpoint_of(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_the_whole_network_is_trained_but_for_its_variance(configured, if_base):
    run = trained(configured("full"))
    before, after = load_file(if_base / "unet" / UNET), load_file(run / "export" / "model.safetensors")
    for kind in ("weight", "bias"):
        noise, variance = before.pop(f"conv_out.{kind}").chunk(2)
        assert torch.equal(after[f"network.unet.conv_out.variance.{kind}"], variance)
        assert not torch.equal(after[f"network.unet.conv_out.noise.{kind}"], noise)
    assert not any(torch.equal(after[f"network.unet.{name}"], weight) for name, weight in before.items())
    said = json.loads((run / "export" / "config.json").read_text())
    assert said["denoiser"]["network"]["learned_variance"] is False
    model = TextToImage.load(run / "export")
    assert (
        model.stages[0].init_from == load_published(if_base, PublishedText.of({}, [if_base])).description.weights_sha256
    )
    assert model.images(["a red circle"], steps=2).shape == (1, 3, 16, 16)


@pytest.mark.slow
def test_the_loss_falls(configured):
    losses = {}
    for name, lora in (("whole", ()), ("lora", ("lora=attention", "lora.rank=16", "stage.optimizer.lr=1e-2"))):
        run = trained(configured(name, "trainer.max_steps=24", "logger=csv", "trainer.log_every_n_steps=1", *lora))
        rows = next(run.rglob("*.csv")).read_text().splitlines()
        column = rows[0].split(",").index("train/loss")
        values = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
        losses[name] = torch.tensor(values)
    for name, fallen in (("whole", 0.85), ("lora", 0.99)):
        assert losses[name][-6:].mean() < fallen * losses[name][:5].mean(), name


def test_additions_leave_the_published_weights_as_they_are(configured, if_base):
    run = trained(configured("lora", "lora=attention"))
    state, published = checkpoint_of(run), load_file(if_base / "unet" / UNET)
    for kind in ("weight", "bias"):
        halves = published.pop(f"conv_out.{kind}").chunk(2)
        published |= {f"conv_out.{half}.{kind}": part for half, part in zip(("noise", "variance"), halves, strict=True)}
    for prefix in ("denoiser.", "ema.module."):
        own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        frozen = {name_without(name): tensor for name, tensor in own.items() if not is_addition(name)}
        del frozen["network.empty_prompt"]
        assert frozen.keys() == {f"network.unet.{name}" for name in published}
        assert all(torch.equal(frozen[f"network.unet.{name}"], weight) for name, weight in published.items())
        added = [tensor for name, tensor in own.items() if is_addition(name)]
        assert len(added) == 2 * 6 * 4
        assert all(tensor.any() for tensor in added), "B began as zeros"


def test_the_average_of_what_is_not_trained_is_kept_once(configured):
    whole, lora = trained(configured("whole")), trained(configured("lora", "lora=attention"))
    sizes = [(run / "checkpoints" / "last.ckpt").stat().st_size for run in (whole, lora)]
    assert sizes[1] < 0.4 * sizes[0]


def test_an_export_of_additions_is_small_and_loads_again_on_the_published_weights(configured, if_base, tmp_path):
    run = trained(configured("lora", "lora=attention"))
    tensors = load_file(run / "export" / "model.safetensors")
    assert all(is_addition(name) for name in tensors)
    from_export, from_checkpoint = (
        load_weights(path, AVERAGED, torch.device("cpu")).model.denoiser.state_dict()
        for path in (run / "export", run / "checkpoints" / "last.ckpt")
    )
    assert from_export.keys() == from_checkpoint.keys()
    assert all(torch.equal(from_export[name], from_checkpoint[name]) for name in from_export)
    one = read_description(run / "export")
    moved, other = (replace(one, adds_to=one.adds_to | change) for change in ({"path": "/x"}, {"weights_sha256": "0"}))
    assert moved.identity == one.identity != other.identity
    again = export(run, tmp_path / "again")
    assert load_file(again / "model.safetensors").keys() == tensors.keys()
    pictures = [
        TextToImage.load(folder).images(["a red circle"], steps=3) for folder in (run / "export", again, if_base)
    ]
    assert torch.equal(pictures[0], pictures[1])
    assert (pictures[0] - pictures[2]).abs().max() > 1e-4


def test_additions_are_those_that_peft_puts_on_diffusers_own_network(configured, if_base):
    from diffusers import UNet2DConditionModel
    from peft import PeftModel

    run = trained(configured("lora", "lora=attention"))
    base = UNet2DConditionModel.from_pretrained(if_base / "unet")
    theirs = PeftModel.from_pretrained(base, run / "export" / "adapter").eval()
    ours = load_weights(run / "export", AVERAGED, torch.device("cpu")).model.denoiser.network.network
    z, text = torch.randn(2, 3, 16, 16), torch.randn(2, 77, 16)
    t = torch.tensor([500, 20])
    with torch.no_grad():
        expected = theirs(z, t, encoder_hidden_states=text).sample
        found = ours.unet(z, t, encoder_hidden_states=text).sample
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_additions_to_other_weights_are_refused(configured, if_base, tmp_path):
    run = trained(configured("lora", "lora=attention"))
    path = run / "export" / "config.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"adds_to": said["adds_to"] | {"weights_sha256": "0" * 64}}))
    with pytest.raises(UserError, match=r"adds to the weights 000000000000…, and those in .*IF-I are"):
        TextToImage.load(run / "export")
    path.write_text(json.dumps(said | {"adds_to": said["adds_to"] | {"path": str(tmp_path / "moved")}}))
    with pytest.raises(
        UserError, match=r"adds to published weights that are not in .*moved or .*moved: put them there"
    ):
        TextToImage.load(run / "export")


def test_a_run_goes_on_to_the_same_weights(configured):
    straight = trained(configured("straight", "lora=attention", "trainer.max_steps=4"))
    trained(configured("stopped", "lora=attention"))
    resumed = trained(configured("stopped", "lora=attention", "trainer.max_steps=4", "stage.lr_schedule.total_steps=4"))
    one, other = (load_file(run / "export" / "model.safetensors") for run in (straight, resumed))
    differences = [float((one[name] - other[name]).abs().max()) for name in one]
    assert max(differences) < 1e-3, "the rate of the second half is planned for another length"


def test_an_upscaler_is_trained_on_noised_smaller_pictures(configured):
    run = trained(configured("sr", "lora=attention", stage="sr1"))
    said = json.loads((run / "export" / "config.json").read_text())
    assert (said["resolution"], said["low_resolution"]) == (64, 16)
    assert said["conditioner"]["align_corners"] is True


def test_recomputed_blocks_change_no_step(configured):
    plain, again = (
        load_file(trained(configured(name, f"stage.denoiser.network.checkpointing={on}")) / "export/model.safetensors")
        for name, on in (("plain", "false"), ("again", "true"))
    )
    assert max(float((plain[name] - again[name]).abs().max()) for name in plain) < 1e-6


@pytest.mark.parametrize(
    ("overrides", "stage", "message"),
    [
        (["text=shapes_t5"], "base", "text names a HuggingFaceEncoder; published stages read text=deepfloyd"),
        (["lora=attention", "lora.targets=[nothing]"], "base", r"lora.targets=\['nothing'\]: the network has no such"),
        (["text.features=8"], "base", "text.features=8, and T5 gives 16: set text.features=16"),
        (["lora=attention", "lora.rank=0"], "base", "lora: rank=0 and alpha=8 must be above 0"),
        (["lora=attention", "init_from=null"], "base", "lora is for published stages: give the folder"),
        (["init_from={upscaler}"], "base", "is not of stage=base: give stage=sr1"),
        (["stage=base_distilled"], "base", "published stages are not distilled"),
    ],
)
def test_what_cannot_be_trained_further_is_refused(configured, if_upscaler, overrides, stage, message):
    given = [override.format(upscaler=if_upscaler) for override in overrides]
    with pytest.raises(UserError, match=message):
        train(configured("refused", *given, stage=stage))


def test_a_plan_knows_what_additions_save(configured):
    hardware = Hardware(devices=1)
    whole, lora = (
        make_plan(configured("plan", "text.encoder.max_length=77", *given), hardware).variants[0].cost
        for given in ([], ["lora=attention"])
    )
    assert lora.gradients < 0.1 * whole.gradients
    assert lora.optimizer < 0.1 * whole.optimizer
    assert lora.average < 0.1 * whole.average
    assert lora.weights > whole.weights
