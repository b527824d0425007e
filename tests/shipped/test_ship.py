"""Shipped stages: stored in half the size, with their origin and licence in the card."""

import pytest
import torch
from small_stages import describe, export_random_stage

from imagen.errors import UserError
from imagen.shipped.ship import ORIGINS, ship
from imagen.stages.export import CARD, load_stage


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_stage_is_shipped_under_its_role_with_its_origin(origin, tmp_path):
    run, assets = tmp_path / "runs" / "base" / "mine", tmp_path / "assets"
    export_random_stage(run / "export", "base", 8, None, trained_on=ORIGINS[origin].world.as_record())
    ship(run, ORIGINS[origin], assets)
    folder = assets / {"shapes": "cascade", "openmoji": "openmoji"}[origin] / "base"
    stage, before = load_stage(folder), load_stage(run / "export")
    assert stage.description.step == describe("base", 8, None).step
    for name, weight in before.model.denoiser.state_dict().items():
        shipped = stage.model.denoiser.state_dict()[name]
        assert torch.equal(shipped, weight.half().float()), name
    sizes = [(place / "model.safetensors").stat().st_size for place in (folder, run / "export")]
    assert 0.4 < sizes[0] / sizes[1] < 0.6
    card = (folder / CARD).read_text()
    assert "Stored in float16" in card
    assert ("CC BY-SA 4.0" in card) is (origin == "openmoji")
    assert "{stage}" not in card


def test_a_stage_of_other_pictures_is_not_shipped(tmp_path):
    run = tmp_path / "runs" / "base" / "mine"
    export_random_stage(run / "export", "base", 8, None, trained_on=ORIGINS["shapes"].world.as_record())
    with pytest.raises(UserError, match="mine was trained on the shapes world, and openmoji is of OpenMoji"):
        ship(run, ORIGINS["openmoji"], tmp_path / "assets")
    assert not (tmp_path / "assets").exists()
