"""unCLIP by the commands: a prior and a decoder are trained, sampled and evaluated."""

import json
from pathlib import Path

import pytest
from in_this_process import call_here
from PIL import Image
from png_settings import read_settings
from small_configurations import SMALL, TINY_NETWORK

from imagen.app.export import export
from imagen.app.train import train
from imagen.cascade.embeddings import FromCaption, FromPicture, FromPrior
from imagen.instantiation import instantiate
from imagen.pictures import save_png
from imagen.shapes.drawing import draw
from imagen.shapes.scenes import sample_scene
from imagen.stages.export import read_description
from imagen.stages.unclip.clip import FrozenClip

QUICK = [
    *SMALL[len(TINY_NETWORK) :], "callbacks=minimal", "logger=none", "trainer.limit_val_batches=1",
    "trainer.val_check_interval=2", "trainer.max_steps=2", "name=mine",
]  # fmt: skip
SMALL_PRIOR = [f"stage.denoiser.network.{change}" for change in ("width=32", "layers=1", "heads=2")]


def train_both(compose_config, folder: Path) -> tuple[Path, Path]:
    paths = [f"paths.{name}={folder / name}" for name in ("runs", "cache", "outputs")]
    exports = []
    for stage in (["stage=prior", *SMALL_PRIOR], ["stage=base_unclip", *TINY_NETWORK]):
        config = compose_config("train", *stage, *QUICK, *paths)
        train(config)
        exports.append(Path(config.run_dir, "export"))
    return exports[0], exports[1]


@pytest.mark.slow
def test_a_prior_and_a_decoder_are_trained_sampled_and_evaluated_by_the_commands(compose_config, tmp_path, caplog):
    prior, decoder = train_both(compose_config, tmp_path)
    said = json.loads((prior / "config.json").read_text())
    sha256 = FrozenClip(said["conditioner"]["clip"]["path"], 64).sha256
    for folder in (prior, decoder):
        assert read_description(folder).clip == sha256
        again = export(folder.parent, tmp_path / "again" / folder.parents[1].name)
        for name in ("config.json", "model.safetensors"):
            assert (again / name).read_bytes() == (folder / name).read_bytes()
    assert "unCLIP's prior, text → CLIP's embedding of a picture" in (prior / "README.md").read_text()
    assert "text and CLIP's embedding of a picture → 8 × 8 images" in (decoder / "README.md").read_text()
    assert_samples(tmp_path)
    caplog.clear()
    assert_evaluates(tmp_path, prior, decoder, caplog)


def assert_samples(tmp_path: Path) -> None:
    """Each source of the embedding; its settings are in the metadata of the pictures."""
    picture = tmp_path / "picture.png"
    save_png(Image.fromarray(draw(sample_scene(0, 0, "train"), 24)), picture, {})
    paths = [f"paths.{name}={tmp_path / name}" for name in ("runs", "cache", "outputs")]
    asked = ["prompt=a red circle", "count=1", "cascade.runs=[mine]", "cascade.device=cpu", *paths]
    few = ["sampler.num_steps=2"]
    sources = {
        "prior": ["embedding=prior", "embedding.weight=2", "embedding.sampler.num_steps=2"],
        "caption": ["embedding=caption", "sampling.base.guidance_rule=embedding_alone"],
        "picture": ["embedding=picture", f"picture={picture}"],
    }
    made = {}
    for name, source in sources.items():
        done = call_here("sample.py", *asked, *few, *source, f"out={tmp_path / 'out' / name}")
        assert done.returncode == 0, done.stderr
        (found,) = (tmp_path / "out" / name / "base").glob("*.png")
        (stage,) = read_settings(found)["stages"]
        made[name] = found.read_bytes(), stage
    assert made["prior"][1]["embedding"]["weight"] == 2
    assert made["prior"][1]["prior"].keys() == {"stage_sha256", "weights_sha256"}
    assert "prior" not in made["caption"][1]
    assert made["picture"][1]["embedding"] == {"_target_": "imagen.cascade.embeddings.FromPicture"}
    for wrong, message in (
        (["embedding=picture"], "error: embedding=picture needs a picture to look at: give picture=FILE as well"),
        (["embedding=prior", "embedding.draws=0"], "error: "),
        (
            ["embedding={_target_: imagen.diffusion.thresholding.NoThresholding}"],
            "error: embedding is a NoThresholding",
        ),
    ):
        done = call_here("sample.py", *asked, *few, *wrong)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert done.stderr.startswith(message)


def assert_evaluates(tmp_path: Path, prior: Path, decoder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The curves of guidance=unclip, and a sweep of the prior's weight."""
    paths = [f"paths.{name}={tmp_path / name}" for name in ("runs", "cache", "outputs")]
    few = [
        "prompts.count=2", "block_size=2", "sampler.num_steps=2", "strips.prompts=0", "metrics.reference.count=80",
        "cascade.device=cpu", *paths,
    ]  # fmt: skip
    out = tmp_path / "unclip"
    stages = [f"guidance.imagen=[{decoder}]", f"guidance.unclip=[{prior},{decoder}]", "guidance.weights=[1,2]"]
    done = call_here("evaluate.py", "guidance=unclip", *stages, "~guidance.curves.Imagen", *few, f"out={out}")
    assert done.returncode == 0, done.stderr
    results = json.loads((out / "results.json").read_text())
    cells = results["cells"]
    said = "shapes-judge-a is the CLIP that stages were trained with: it is no judge of them"
    assert results["taught_by"] == ["shapes-judge-a"]
    assert [said in record.message for record in caplog.records] == [True]
    assert all(said in (out / report).read_text() for report in ("report.md", "report.html"))
    assert len(cells) == 10
    passes = {(cell["curve"], cell["guidance_weight"]): cell["passes"] for cell in cells}
    assert passes["prior", 2.0] == {"prior": 32, "base": 4}  # two draws of 16 steps; two steps of two passes
    assert passes["true vector alone", 1.0] == {"base": 2}
    out = tmp_path / "prior"
    chosen = [f"cascade.stages=[{prior},{decoder}]", "guidance=curves", "+guidance.curves.prior={}"]
    moved = [*chosen, "guidance.weight_of=prior_guidance", "guidance.weights=[1,3]"]
    done = call_here("evaluate.py", *moved, *few, f"out={out}")
    assert done.returncode == 0, done.stderr
    results = json.loads((out / "results.json").read_text())
    assert results["weight_of"] == "prior"
    assert [cell["passes"]["prior"] for cell in results["cells"]] == [32, 64]
    done = call_here("evaluate.py", *moved, "embedding=caption", *few, f"out={tmp_path / 'none'}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("error: guidance.weight_of=prior_guidance: these stages have no prior, or do not ask")


@pytest.mark.parametrize("source", [FromPrior, FromCaption, FromPicture])
def test_the_choices_of_a_configuration_are_the_defaults_of_the_classes(source, compose_config):
    name = source.__name__.removeprefix("From").lower()
    assert instantiate(compose_config("sample", f"embedding={name}").embedding) == source()
