"""Whether a prior and the stage that reads its embeddings fit together."""

from imagen.cascade.embedding_source import EmbeddingSource
from imagen.cascade.embeddings import FromPrior
from imagen.errors import UserError
from imagen.stages.distillation.guidance_conditioner import inside
from imagen.stages.export import TrainedStage
from imagen.stages.unclip.clip import FrozenClip
from imagen.stages.unclip.conditioners import PictureEmbeddingConditioner, PriorConditioner
from imagen.text.record import differences


def is_prior(stage: TrainedStage) -> bool:
    """Whether the stage makes vectors and no pictures."""
    return isinstance(stage.model.conditioner, PriorConditioner)


def clip_of(stage: TrainedStage) -> FrozenClip | None:
    """Whose vectors the stage reads; None if it reads none."""
    for conditioner in inside(stage.model.conditioner):
        if isinstance(conditioner, PictureEmbeddingConditioner):
            return conditioner.clip
    return None


def default_embedding(first: TrainedStage) -> EmbeddingSource | None:
    """Where the embedding comes from that `first` reads, unless said otherwise; None if it reads none."""
    return None if clip_of(first) is None else FromPrior()


def check_prior(prior: TrainedStage, first: TrainedStage) -> None:
    """Raises UserError unless `prior` gives what `first`, the first stage of a cascade, reads."""
    reads, gives = clip_of(first), prior.model.conditioner
    assert isinstance(gives, PriorConditioner)
    name = first.description.name
    if reads is None:
        raise UserError(
            f"stage {name!r} reads no embedding of a picture, and there is a prior: leave the prior out, or take a "
            "stage that was trained with stage=base_unclip"
        )
    if prior.description.text != first.description.text:
        raise UserError(
            f"the prior and stage {name!r} were trained on different text encoders "
            f"({differences(prior.description.text, first.description.text, ' and ')}): choose stages of one"
        )
    if (gives.clip.features, gives.clip.recorded_sha256) != (reads.features, reads.recorded_sha256):
        raise UserError(
            f"the prior gives vectors of another CLIP ({gives.clip.recorded_sha256:.12}…) than stage {name!r} reads "
            f"({reads.recorded_sha256:.12}…): choose stages of one"
        )


def check_embedding(first: TrainedStage, prior: TrainedStage | None, source: EmbeddingSource | None) -> None:
    """Raises UserError unless `source` is there exactly if `first` reads an embedding, with the prior that it needs."""
    name = first.description.name
    if clip_of(first) is None:
        if source is not None:
            raise UserError(f"stage {name!r} reads no embedding of a picture: leave out embedding=")
        return
    if source is None:
        raise UserError(
            f"stage {name!r} reads the embedding of a picture, and nothing says whose: choose embedding=prior, caption "
            "or picture"
        )
    if isinstance(source, FromPrior) and prior is None:
        raise UserError(
            f"stage {name!r} draws what a prior gives it, and there is none: train one with python train.py "
            "stage=prior, or take embedding=caption"
        )
