"""Trains judges of somebody's own pictures, as a configuration describes, and writes their folders."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig, OmegaConf

from imagen.checks.names import as_name
from imagen.checks.worlds import World
from imagen.clip.towers import caption_features, picture_features
from imagen.data.module import BadPictures
from imagen.data.sampler import check_batch_size
from imagen.data.source import Source
from imagen.data.transforms import Geometry
from imagen.devices import choose_device, uses_autocast
from imagen.errors import UserError
from imagen.evaluation.judges.clip import ClipJudge
from imagen.evaluation.judges.record import JudgeRecord, read_record
from imagen.files import sha256_of_file, user_path, write_text
from imagen.instantiation import instantiate, resolved
from imagen.judging.card import own_card
from imagen.judging.model import JudgeNetwork, make_model, make_tokenizer, save
from imagen.judging.own_lessons import Course, OwnLessons
from imagen.judging.pictures import CaptionedPictures, read_pictures
from imagen.judging.retrieval import MOST_ROWS, check_rows, measure_retrieval, retrieval
from imagen.judging.training import train
from imagen.locks import only_trainer
from imagen.randomness import derive_seed

if TYPE_CHECKING:
    from transformers import CLIPModel

SETTINGS = ("seed", "steps", "vocabulary", "max_pictures", "network", "optimisation", "augmentation")
"""Keys of the configuration that a judge depends on, besides its data."""

REPORTS = 5
"""How often the recall on validation rows is printed during a training."""


@dataclass(frozen=True)
class OwnPictures:
    """What the judges of a run have in common: pictures to learn from and to be measured on, and which they are."""

    train: CaptionedPictures
    validation: CaptionedPictures
    world: World


def train_judges(config: DictConfig) -> None:
    """Train, measure and describe every judge of `config.judges` that is not finished in `config.out`.

    Raises:
        UserError: for data that no judge can learn from, and for a folder with another judge.
    """
    names, out = _names(config), user_path(config.out)
    check_batch_size(config.data.batch_size)
    device = choose_device(config.device)
    autocast = uses_autocast(config.precision, device)
    network: JudgeNetwork = instantiate(config.network)
    out.mkdir(parents=True, exist_ok=True)
    training: Source = instantiate(config.data.train)
    with only_trainer(out):
        waiting = [name for name in names if not _is_finished(out / name, config, training.world)]
        if not waiting:
            raise UserError(f"{out}: {' and '.join(names)} are trained already; train others with name=...")
        pictures = _read(config, network, training)
        for name in waiting:
            seed = derive_seed("own-judge", config.seed, name)
            course = Course(seed, config.steps, config.data.batch_size, instantiate(config.augmentation), autocast)
            _train_judge(config, name, network, course, pictures, device)
    print(f"measure with them: python evaluate.py metrics=own metrics.run={config.name}", flush=True)


def _names(config: DictConfig) -> list[str]:
    """The names of the judges below the name of the run."""
    as_name(config.name, "name")
    names = [as_name(name, "judges") for name in config.judges] if OmegaConf.is_list(config.judges) else []
    if not names or len(set(names)) < len(names):
        raise UserError(f"judges={config.judges}: give a list of different names, such as [a,b]")
    return names


def _is_finished(folder: Path, config: DictConfig, world: World) -> bool:
    """Whether the judge that `config` describes is in `folder`. Raises UserError if there is another one, or one that
    was trained on other pictures than `world` has now."""
    record = read_record(folder)
    if record is None:  # nothing, or what an interrupted training left
        return False
    given = {**(record.settings or {}), "data.train": record.source}
    wanted = {**_settings(config), "data.train": resolved(config.data.train)}
    for key in wanted:
        if given.get(key) != wanted[key]:
            raise UserError(
                f"{folder} holds a judge that was trained with {key}={given.get(key)!r:.120}, and now "
                f"{wanted[key]!r:.120} is asked for: give another name=..., or remove that folder"
            )
    if World.from_record(record.world, f"{folder}: world", "train the judge again").is_same(world) is False:
        raise UserError(
            f"{folder} holds a judge of {world} as they were: pictures or captions have changed since; give another "
            "name=..., or remove that folder"
        )
    return True


def _settings(config: DictConfig) -> dict[str, Any]:
    data = {"validation": resolved(config.data.validation), "geometry": resolved(config.data.geometry)}
    data["skip_small"] = config.data.bad_pictures.skip_small
    return {key: resolved(config[key]) for key in SETTINGS} | {"batch_size": config.data.batch_size, "data": data}


def _read(config: DictConfig, network: JudgeNetwork, training: Source) -> OwnPictures:
    """The pictures of both parts of the data, in memory."""
    validation: Source = instantiate(config.data.validation)
    check_rows(len(validation), validation.name)
    _refuse_shared_rows(training, validation)
    geometry: Geometry = instantiate(config.data.geometry)
    bad: BadPictures = instantiate(config.data.bad_pictures)
    side = network.image_size
    seen = read_pictures(training, "training", side, geometry, bad, config.max_pictures)
    unseen = read_pictures(validation, "validation", side, geometry, bad, MOST_ROWS)
    check_rows(len(unseen), validation.name)
    return OwnPictures(seen, unseen, training.world)


def _refuse_shared_rows(training: Source, validation: Source) -> None:
    """Raises UserError if a row is in both parts: the recall is to be that of pictures the judge has not seen."""
    if training.origin.identity != validation.origin.identity:
        return
    seen = {training.origin_row(index) for index in range(len(training))}
    shared = sum(validation.origin_row(index) in seen for index in range(len(validation)))
    if shared:
        raise UserError(
            f"{shared} of {len(validation)} validation rows of {validation.name} are training rows too: give "
            "data.validation the rows that data.train leaves out (the same n)"
        )


def _train_judge(
    config: DictConfig, name: str, network: JudgeNetwork, course: Course, pictures: OwnPictures, device: torch.device
) -> None:
    """Train one judge and write its folder; its record comes last, so a folder that has one is whole."""
    folder, full_name = user_path(config.out) / name, f"{config.name}-{name}"
    tokenizer = make_tokenizer([text for texts in pictures.train.captions for text in texts], config.vocabulary)
    lessons = OwnLessons(pictures.train, network, tokenizer, course, f"judge {full_name}")
    model: Any = make_model(network, tokenizer, course.seed)
    model.to(device)

    def report(model: "CLIPModel", step: int) -> None:
        if (step + 1) % -(-course.steps // REPORTS) == 0 and step + 1 < course.steps:
            recall = _recall(model, tokenizer, network, pictures.validation)
            print(f"judge {full_name}, step {step + 1}: {recall}", flush=True)

    started = time.monotonic()
    train(model, lessons, instantiate(config.optimisation), report)
    minutes = (time.monotonic() - started) / 60
    # In half the size; what is measured is what is stored.
    save(model.cpu().half(), tokenizer, folder)
    judge = ClipJudge(folder, full_name, config.device)
    measured = measure_retrieval(judge, pictures.validation)
    record = JudgeRecord(
        name=full_name,
        world=pictures.world.as_record(),
        weights_sha256=sha256_of_file(folder / "model.safetensors"),
        source=resolved(config.data.train),
        retrieval=measured.as_record(),
        pictures_seen=lessons.pictures_seen,
        minutes=round(minutes, 2),
        settings=_settings(config),
    )
    parameters = sum(weight.numel() for weight in model.parameters())
    card = own_card(record, measured, len(pictures.train), parameters, _in_words(device))
    write_text(card, folder / "MODEL_CARD.md")
    record.write(folder)
    print(f"judge {full_name}: {minutes:.1f} min, {measured.line}\n  {folder}", flush=True)


def _recall(model: "CLIPModel", tokenizer: Any, network: JudgeNetwork, pictures: CaptionedPictures) -> str:
    """The recalls of a network in training, in one line."""
    model.eval()
    images = picture_features(model, network.preprocessing, pictures.pixels)
    texts = caption_features(model, tokenizer, pictures.first_captions)
    model.train()
    return retrieval(images, texts, pictures).line


def _in_words(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{threads} CPU thread{'s' if threads > 1 else ''}"
