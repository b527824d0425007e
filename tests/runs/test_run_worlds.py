"""What a run was trained on: recorded in its checkpoint and export, else read off its configuration."""

import json
import shutil

import pytest
import torch
from small_configurations import SMALL
from small_stages import export_random_stage

from imagen.app.train import train
from imagen.checks.worlds import World
from imagen.data.openmoji.source import OPENMOJI
from imagen.data.shapes_source import SHAPES
from imagen.places import ROOT
from imagen.runs.weights import AVERAGED, load_weights
from imagen.runs.worlds import warn_of_foreign_words, world_of_configuration
from imagen.stages.checkpoint_io import AtomicCheckpointIO
from imagen.stages.export import read_description

FOLDER = {"_target_": "imagen.data.image_folder.ImageFolderSource", "path": "/my/cats"}


def all_but(source: object) -> dict:
    return {"_target_": "imagen.data.source.AllButEveryNth", "n": 50, "source": source}


@pytest.mark.parametrize(
    ("train_section", "expected"),
    [
        (all_but(FOLDER), World("the pictures in /my/cats", "ImageFolderSource")),
        (all_but(all_but(FOLDER)), World("the pictures in /my/cats", "ImageFolderSource")),
        ({"_target_": "imagen.data.shapes_source.ShapesSource", "seed": 3}, SHAPES),
        ({"_target_": "lab.data.Xrays"}, World("the pictures of Xrays", "Xrays")),
        ({"_target_": 3}, None),
        ({}, None),
        (None, None),
        ("shapes", None),
    ],
)
def test_a_configuration_says_which_pictures_without_any_being_read(train_section, expected):
    assert world_of_configuration({"data": {"train": train_section}}) == expected


def test_a_configuration_that_nests_without_end_or_has_no_data_says_nothing():
    deep = FOLDER
    for _ in range(30):
        deep = {"source": deep}
    assert world_of_configuration({"data": {"train": deep}}) is None
    assert world_of_configuration({}) is None


def world_in(place):
    return load_weights(place, AVERAGED, torch.device("cpu")).description.world


def test_a_run_records_its_pictures_in_its_checkpoint_and_its_export(compose_config, tmp_path):
    train(compose_config("train", *SMALL, "callbacks=minimal", "logger=none", "trainer.max_steps=1", "name=a"))
    run = tmp_path / "runs" / "base" / "a"
    checkpoint = run / "checkpoints" / "last.ckpt"
    assert read_description(run / "export").world == SHAPES
    assert "- Pictures: the shapes world" in (run / "export" / "README.md").read_text()
    assert world_in(checkpoint) == SHAPES
    # As they were before there was a record: the configuration beside them knows.
    content = AtomicCheckpointIO().load_checkpoint(checkpoint)
    assert content["ImagenDataModule"].pop("trained_on") == SHAPES.as_record()
    AtomicCheckpointIO().save_checkpoint(content, checkpoint)
    config = run / "export" / "config.json"
    fields = json.loads(config.read_text())
    del fields["trained_on"]
    config.write_text(json.dumps(fields | {"format_version": 2}))
    identity = read_description(run / "export").identity
    assert world_in(checkpoint) == world_in(run / "export") == SHAPES
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("ShapesSource", "ImageFolderSource"))
    assert world_in(run / "export").kind == "ImageFolderSource"
    assert load_weights(run / "export", AVERAGED, torch.device("cpu")).description.identity == identity
    # Exported elsewhere, nothing knows.
    assert world_in(shutil.copytree(run / "export", tmp_path / "elsewhere")) is None


def test_a_file_beside_an_export_that_is_no_configuration_of_a_run_says_nothing(tmp_path):
    export_random_stage(tmp_path / "export", "base", 8, None)
    (tmp_path / "config.yaml").write_text("a: [")
    assert world_in(tmp_path / "export") is None


@pytest.mark.parametrize(
    ("path", "world", "warned"),
    [
        (ROOT / "assets" / "shapes_t5", OPENMOJI, True),
        (ROOT / "assets" / "shapes_t5", SHAPES, False),
        ("google/t5-v1_1-base", OPENMOJI, False),
        (None, OPENMOJI, False),
    ],
)
def test_the_shapes_t5_is_not_given_other_captions_without_a_word(path, world, warned, caplog):
    warn_of_foreign_words({"encoder": {"path": None if path is None else str(path)}}, world)
    assert [record.message.startswith("text=shapes_t5 knows") for record in caplog.records] == [True] * warned
