"""Write pictures into tar archives for training, with the embedded captions beside them.

    imagen shards data=hub data.path=/my/parquet text=t5_xl out=/my/shards
    imagen shards data=webdataset data.path=s3://bucket/shards text=t5_xl out=/my/embedded processes=2
    python train.py data=webdataset data.path=/my/shards text=t5_xl text.mode=shards

The overrides are those of train.py. All rows of the source of data.train are written in order, and so are those that
are held out of it for validation. Besides:

    out=FOLDER          of the archives; the same command goes on where one stopped
    rows=10000          in each archive
    processes=1         that write, one archive each at a time; on a machine with GPUs each takes the next one
    embeddings=true     false: pictures and captions alone

With text.mode=cached, vectors that the cache in text.folder has are taken from there; it is not filled.
"""

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from imagen.checks.arguments import Count, check_arguments
from imagen.commandline.arguments import with_own_keys
from imagen.commandline.command import command
from imagen.errors import UserError
from imagen.files import user_path

if TYPE_CHECKING:
    from imagen.packing.archive import CaptionVectors

log = logging.getLogger(__name__)

OWN = ("out", "rows", "processes", "embeddings")


@dataclass(frozen=True)
class Choices:
    """What the command takes besides the keys of conf/train.yaml.

    Args:
        out: folder of the archives.
        rows: in each of them.
        processes: that write.
        embeddings: whether captions are embedded.
    """

    out: str
    rows: Count = 10_000
    processes: Count = 1
    embeddings: bool = True


@command("train", interrupted="finished archives are kept, and the same command goes on", help_text=__doc__)
def _write(config: DictConfig) -> None:
    from imagen.instantiation import as_dict

    given = as_dict(config.shards) if "shards" in config else {}
    if not given.get("out"):
        raise UserError("out has no value: give the folder of the archives as out=FOLDER")
    check_arguments(Choices, given, "shards")
    write_shards(config, Choices(**given))


def write_shards(config: DictConfig, choices: Choices) -> None:
    """Write the archives of a configuration that are not there yet, and say how to train on them.

    Raises:
        UserError: if a row cannot be read or kept; the folder holds archives of something else, or another process
            writes there; nothing embeds captions, and embeddings are wanted.
    """
    from imagen.concurrency.processes import results
    from imagen.files import publish
    from imagen.instantiation import as_dict, instantiate
    from imagen.locks import only_writer
    from imagen.packing.archive import Packer, files_of
    from imagen.packing.record import begin
    from imagen.progress import counting
    from imagen.text.tokens import EncodingCounts

    out, source = user_path(choices.out), instantiate(config.data.train).origin
    files_of(source, 0)  # a source without files is refused before anything is written
    vectors = _vectors(as_dict(config.text)) if choices.embeddings else None
    with only_writer(out):
        fingerprint = vectors.fingerprint if vectors else None
        record = begin(out, source, _node_of_source(as_dict(config.data.train)), choices.rows, fingerprint)
        for left in out.glob(".*.part"):
            left.unlink()
        missing = [number for number, name in enumerate(record.names()) if not (out / name).exists()]
        packer = Packer(out, source, choices.rows, record.captions, vectors)
        counts: list[EncodingCounts] = []
        with counting(f"writing {record.rows} rows, {choices.rows} in an archive", record.rows_in(missing)) as advance:
            for made in results(packer, missing, choices.processes, advance):
                publish(made.partial, made.path)
                counts += [made.counts] if made.counts else []
    for warning in EncodingCounts.total(counts).warnings() if counts else ():
        log.warning(warning)
    print(f"{record.rows} rows are in {record.archives} archives; to train on them: {record.how_to_read(out)}")


def _vectors(section: Mapping[str, Any]) -> "CaptionVectors":
    """The vectors of captions by the encoder of a `text` section, which are as wide as it says."""
    from imagen.instantiation import instantiate
    from imagen.packing.archive import CaptionVectors

    if "encoder" not in section or "mode" not in section:
        raise UserError("this text= has no encoder, so nothing can be embedded; give another, or embeddings=false")
    instantiate({**section, "mode": "online"})
    cached = section["mode"] == "cached" and section.get("folder")
    return CaptionVectors(instantiate(section["encoder"]), user_path(section["folder"]) if cached else None)


def _node_of_source(node: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the source from which another selects rows."""
    while isinstance(node.get("source"), dict):
        node = node["source"]
    return node


def main() -> None:
    sys.argv[1:] = with_own_keys(sys.argv[1:], "++shards", OWN)
    _write()


if __name__ == "__main__":
    main()
