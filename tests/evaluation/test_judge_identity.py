"""A judge's identity holds everything its numbers depend on, and a published name requires all of it."""

import json
import shutil
import sys

import pytest
import torch

from imagen.clip.preprocessing import ClipPreprocessing
from imagen.errors import UserError
from imagen.evaluation.judges.clip import ClipJudge
from imagen.evaluation.judges.dinov2 import Dinov2
from imagen.evaluation.judges.inception import CleanResize, TensorFlowResize
from imagen.evaluation.judges.names import (
    CLIP_L14,
    CLIP_L14_WEIGHTS,
    DINOV2_L14,
    INCEPTION_SHA256,
    OPENAI_PREPROCESSING,
    PUBLISHED,
    clip_names,
    dinov2_names,
    inception_names,
    looks_published,
)
from imagen.files import fingerprint
from imagen.text.encoders import HuggingFaceEncoder

from .stand_ins import clip_folder

OPENED: list[str] = []


@pytest.fixture
def opened():
    """Every path that Python opens from here on."""
    if not getattr(sys, "_imagen_test_hook", False):  # an audit hook stays for good
        sys.addaudithook(lambda event, given: OPENED.append(str(given[0])) if event == "open" else None)
        sys._imagen_test_hook = True
    OPENED.clear()
    return OPENED


def with_json(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | changes))


def changed_config(folder):
    config = json.loads((folder / "config.json").read_text())
    for part in ("text_config", "vision_config"):
        config[part]["hidden_act"] = "gelu"
    (folder / "config.json").write_text(json.dumps(config))


CHANGES = {
    "hidden_act": changed_config,
    "tokenizer.json": lambda folder: with_json(folder, "tokenizer.json", truncation=None, post_processor=None),
    "tokenizer_config.json": lambda folder: with_json(folder, "tokenizer_config.json", errors="ignore"),
    "special_tokens_map.json": lambda folder: with_json(folder, "special_tokens_map.json", unk_token="a"),
    "added_tokens.json": lambda folder: with_json(folder, "added_tokens.json", **{"<new>": 514}),
    "merges.txt": lambda folder: (folder / "merges.txt").write_text("#version: 0.2\na b</w>\n"),
    "preprocessor_config.json": lambda folder: with_json(
        folder, "preprocessor_config.json", image_mean=[0.5, 0.5, 0.5]
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_file_that_a_judge_reads_is_part_of_its_identity(change, clip, judge, tmp_path):
    folder = shutil.copytree(clip, tmp_path / "clip")
    assert ClipJudge(folder, "tiny", device="cpu").identity == judge.identity  # no path
    CHANGES[change](folder)
    assert ClipJudge(folder, "tiny", device="cpu").identity != judge.identity


def test_other_weights_are_another_judge(tmp_path, judge):
    assert ClipJudge(clip_folder(tmp_path, seed=1), "tiny", device="cpu").identity != judge.identity


def test_nothing_else_in_the_folder_is_opened(clip, judge, opened, tmp_path):
    folder = shutil.copytree(clip, tmp_path / "clip")
    (folder / "generation_config.json").write_text("{}")
    ClipJudge(folder, "tiny", device="cpu")
    read = {path.rpartition("/")[2] for path in opened if path.startswith(f"{folder}/")}
    assert {"config.json", "tokenizer_config.json"} < read
    # Ours reads the preprocessing; how a model would write text (transformers opens that too) is nothing to a judge.
    # The record says which pictures a judge knows, and changes no number.
    assert read <= {*judge.identity["files"], "preprocessor_config.json", "generation_config.json", "judge.json"}


def redirected(folder):
    with_json(folder, "config.json", transformers_weights="other.safetensors")
    shutil.copy(folder / "model.safetensors", folder / "other.safetensors")


REDIRECTIONS = {
    "transformers_weights names another file": redirected,
    "holds an adapter": lambda folder: with_json(folder, "adapter_config.json", base_model_name_or_path="elsewhere"),
}


@pytest.mark.parametrize("complaint", REDIRECTIONS)
def test_a_folder_that_has_something_else_loaded_is_refused_by_all_loaders(complaint, clip, tmp_path):
    folder = shutil.copytree(clip, tmp_path / "clip")
    REDIRECTIONS[complaint](folder)
    loaders = (
        lambda: ClipJudge(folder, "tiny"),
        lambda: Dinov2(folder),
        lambda: HuggingFaceEncoder(folder).fingerprint,
        lambda: HuggingFaceEncoder(folder, max_length=77)(["a circle"]),
    )
    for load in loaders:
        with pytest.raises(UserError, match=complaint):
            load()


def test_a_judge_with_missing_or_misfitting_weights_is_refused(clip, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(clip, tmp_path / "clip")
    weights = load_file(folder / "model.safetensors")
    partial = {name: tensor for name, tensor in weights.items() if name != "visual_projection.weight"}
    save_file(partial, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"1 weights are missing, first visual_projection\.weight"):
        ClipJudge(folder, "tiny")
    wrong = weights | {"visual_projection.weight": torch.zeros(3, 3)}
    save_file(wrong, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="CLIPModel"):
        ClipJudge(folder, "tiny")


@pytest.mark.parametrize("weights", CLIP_L14_WEIGHTS)
def test_clip_score_takes_every_file_of_the_published_clip(weights):
    known = CLIP_L14 | {weights: CLIP_L14_WEIGHTS[weights]}
    assert clip_names("anything", known, OPENAI_PREPROCESSING).alignment_key == "clip_score"
    assert clip_names("anything", known, OPENAI_PREPROCESSING).alignment_scale == 100
    other = ClipPreprocessing(64, 64, OPENAI_PREPROCESSING.mean, OPENAI_PREPROCESSING.std)
    assert clip_names("mine", known, other).alignment_key == "align[mine]"
    for file in known:
        for files in (known | {file: "0" * 64}, {name: digest for name, digest in known.items() if name != file}):
            names = clip_names("clip", files, OPENAI_PREPROCESSING)
            assert names.alignment_key == f"align[clip:{fingerprint(files)[:8]}]"
            assert names.alignment_scale == 1
    more = clip_names("mine", known | {"added_tokens.json": "0" * 64}, OPENAI_PREPROCESSING)
    assert more.alignment_key == "align[mine]"


def test_fid_and_fd_dinov2_take_the_published_files():
    assert inception_names(INCEPTION_SHA256, TensorFlowResize.names) == ("inception", "fid", "")
    assert inception_names(INCEPTION_SHA256, CleanResize.names) == ("inception-clean", "fid_clean", "_clean")
    # A file can be made whose hash begins like the published one's.
    near = inception_names("6726825d" + "0" * 56, TensorFlowResize.names)
    assert near == ("inception:6726825d", "fd[inception:6726825d]", "[inception:6726825d]")
    assert dinov2_names(DINOV2_L14) == ("dinov2", "fd_dinov2", "_dinov2")
    for file in DINOV2_L14:
        files = DINOV2_L14 | {file: "0" * 64}
        assert dinov2_names(files).fidelity_key == f"fd[dinov2:{fingerprint(files)[:8]}]"


@pytest.mark.parametrize(
    "name",
    ["fid", "FID", "f.i.d", "Fid-50k", "clip-score", "CLIP_Score", "CLIP ViT-L/14", "ViT-L-14", "openai_clip",
     "Inception-v3", "inception_clean", "DINOv2", "dino-v2", "KID", "MIND-5k", "ＦＩＤ"],
)  # fmt: skip
def test_a_name_that_could_be_taken_for_a_published_one_is_seen(name):
    assert looks_published(name)
    assert all(map(looks_published, PUBLISHED))


@pytest.mark.parametrize("name", ["shapes-judge-a", "tiny", "colour", "my_judge.2"])
def test_other_names_are_taken_as_they_are(name):
    assert not looks_published(name)
    assert clip_names(name, {}, OPENAI_PREPROCESSING) == (name, f"fd[{name}]", f"align[{name}]", 1.0)


def test_a_judge_with_a_published_name_and_other_files_is_named_by_their_hash(clip):
    judge = ClipJudge(clip, "clip-score", device="cpu")
    assert judge.name == f"clip-score:{fingerprint(judge.identity['files'])[:8]}"
    assert judge.alignment_key == f"align[{judge.name}]"
    for name in ("CLIP ViT-L/14", "../judge", ""):
        with pytest.raises(UserError, match=r"metrics\.judges: name=.* is not a name"):
            ClipJudge(clip, name, device="cpu")
