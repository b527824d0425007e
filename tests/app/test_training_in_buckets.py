"""Training on pictures of many shapes, from the configuration to the export."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_configurations import SMALL

from imagen.app.train import train
from imagen.errors import UserError
from imagen.stages.diffusion_stage import DiffusionStage


@pytest.fixture
def folder(tmp_path):
    """42 pictures of three shapes, a third of each, none larger than needed."""
    place, rows = tmp_path / "pictures", []
    place.mkdir()
    for i in range(42):
        Image.new("RGB", ((12, 16), (16, 12), (16, 16))[i % 3], (5 * i, 90, 20)).save(place / f"{i}.png")
        rows.append(json.dumps({"file_name": f"{i}.png", "text": f"picture {i}"}))
    (place / "metadata.jsonl").write_text("\n".join(rows))
    return place


@pytest.fixture
def configured(compose_config, folder):
    small = [option for option in SMALL if not option.startswith(("data.train", "data.validation", "text"))]

    def composed(*overrides: str):
        return compose_config(
            "train", *small, "data=image_folder", f"data.path={folder}", "data.train.n=5", "data.num_workers=0",
            "text=none", "data.geometry.buckets=[[1,1],[3,4],[4,3]]", "data.geometry.bucket_steps=4",
            "stage.lr_schedule.total_steps=6", "trainer.val_check_interval=3", *overrides,
        )  # fmt: skip

    return composed


def weights_of(config) -> dict[str, torch.Tensor]:
    return torch.load(f"{config.run_dir}/checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "workers"), [("base", 2), ("sr1", 0)])
def test_a_stage_trains_resumes_exactly_draws_and_exports(stage, workers, configured, monkeypatch):
    shapes, step = [], DiffusionStage.training_step

    def noted(self, batch, batch_idx):
        shapes.append(tuple(batch.images.shape[-2:]))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(DiffusionStage, "training_step", noted)
    common = [f"stage={stage}", "callbacks.samples.num_prompts=3"]
    whole = configured(*common, "name=whole", "trainer.max_steps=6")
    train(whole)
    seen = shapes.copy()
    side = 16 if stage == "sr1" else 8
    assert set(seen) == {(side, side), (side * 3 // 4, side), (side, side * 3 // 4)}
    shapes.clear()
    for steps in (2, 6):
        parts = configured(*common, "name=parts", f"data.num_workers={workers}", f"trainer.max_steps={steps}")
        train(parts)
    assert shapes == seen
    for name, tensor in weights_of(whole).items():
        assert torch.equal(tensor, weights_of(parts)[name]), name
    description = json.loads(Path(whole.run_dir, "export", "config.json").read_text())
    assert (description["resolution"], description["images_seen"]) == (side, 24)
    grids = [Path(config.run_dir, "samples", "step_0000006.png").read_bytes() for config in (whole, parts)]
    assert grids[0] == grids[1]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data.geometry.buckets=[[2,3]]", "data.geometry.bucket_steps=8"],
            r"images of 6 x 9: each side must be a multiple of 2; choose data\.geometry\.bucket_steps=4 or fewer",
        ),
        (
            ["stage=sr1", "data.geometry.bucket_steps=16"],
            r"a bucket of \d+ x \d+ in a stage that enlarges 2 times: sides must be multiples of it; choose "
            r"data\.geometry\.bucket_steps=8 or fewer",
        ),
        (["data.geometry.bucket_steps=3"], r"bucket_steps=3 must divide the resolution, 8: choose 1"),
        (["data.geometry.bucket_steps=0"], r"bucket_steps=0 must be a whole number of at least 1"),
        (["data.geometry.buckets=usual"], r"data\.geometry\.buckets='usual' must be"),
        (["data.geometry.buckets=[[0,1]]"], r"\[0, 1\] is no ratio height : width of two positive numbers"),
        (["data.crop_size=8"], r"crop_size=8 must lie between 1 and the shorter side of \(6, 8\), 6"),
        (["data.batch_size=13"], r"of the buckets for training, .*fewer than the 13 of a batch"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(overrides, message, configured):
    with pytest.raises(UserError, match=message) as caught:
        train(configured(*overrides))
    assert "\n" not in str(caught.value)


def test_buckets_are_not_changed_in_the_middle_of_a_run(configured):
    train(configured("trainer.max_steps=1"))
    with pytest.raises(UserError, match=r"data\.geometry\.buckets=.* and cannot resume with"):
        train(configured("trainer.max_steps=2", "data.geometry.buckets=[[1,1],[3,4]]"))
