"""What rows cost: seconds to the first batch, memory and images per second of every kind of data, for 10³ to 10⁶ rows.

    python -m benchmarks.data_cost --rows 1000 10000 100000 1000000
    python -m benchmarks.data_cost --index 1000000      # reading the index of shards alone, by number of cores
    python -m benchmarks.data_cost --plot

All pictures are one picture of 64 × 64 pixels, captions differ. Every measurement is a process of its own, which builds
the DataModule as training does (headers of all pictures checked, captions gone through) and reads batches of 64 with
two workers. Made data are deleted at once. Needs the extra `test`, and for a million rows 7 GB of disk and, for `s3`,
whose server on this machine holds everything, 10 GB of memory.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "data_cost.json"
PLOT = ROOT / "docs" / "images" / "data_cost.png"
KINDS = ("shapes", "image_folder", "hub", "webdataset", "s3")
PER_SHARD = 10_000
LINKS = 50_000  # to one file: file systems allow no more than some 60,000
BATCHES = 60


def picture() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (64, 64), (30, 60, 90)).save(stream, "PNG")
    return stream.getvalue()


def member(name: str, content: bytes) -> bytes:
    """With its time in a pax header, as img2dataset writes it."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(content), 1_700_000_000.25  # pyright: ignore[reportAttributeAccessIssue]
    return info.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % 512)


def make_shard(path: Path, rows: Iterable[int], file: bytes) -> None:
    """Made from the bytes of one sample, because `tarfile` would take minutes for a million."""
    parts = {"jpg": file, "json": b'{"caption": "%s", "status": "success"}', "txt": b"a picture numbered %s"}
    blank = [member(f"{0:09d}.{extension}", content.replace(b"%s", b"0" * 9)) for extension, content in parts.items()]
    with path.open("wb") as shard:
        for row in rows:
            for block in blank:
                number = b"%09d" % row
                header = bytearray(block[1024:1536])
                header[:9] = number
                header[148:156] = b" " * 8
                header[148:156] = b"%06o\0 " % sum(header)
                shard.write(block[:1024] + bytes(header) + block[1536:].replace(b"0" * 9, number, 1))
        shard.write(bytes(10_240))


def make(kind: str, rows: int, folder: Path) -> None:
    """Data of a kind in `folder`."""
    file = picture()
    folder.mkdir(parents=True)
    if kind == "image_folder":
        with (folder / "metadata.jsonl").open("w") as metadata:
            for row in range(rows):
                place, first = folder / f"{row // 1000:04d}", folder / f"first{row // LINKS}"
                if row % 1000 == 0:
                    place.mkdir()
                if row % LINKS == 0:
                    first.write_bytes(file)
                os.link(first, place / f"{row:07d}.png")
                name = f"{place.name}/{row:07d}.png"
                metadata.write(json.dumps({"file_name": name, "text": f"a picture numbered {row:09d}"}) + "\n")
    elif kind == "hub":
        import pyarrow as pa
        from pyarrow import parquet

        for start in range(0, rows, 50_000):
            numbers = range(start, min(start + 50_000, rows))
            columns = {
                "image": [{"bytes": file, "path": None}] * len(numbers),
                "text": [f"a picture numbered {row:09d}" for row in numbers],
            }
            parquet.write_table(pa.table(columns), folder / f"train-{start:07d}.parquet")
    elif kind in ("webdataset", "s3"):
        for start in range(0, rows, PER_SHARD):
            make_shard(folder / f"{start // PER_SHARD:05d}.tar", range(start, min(start + PER_SHARD, rows)), file)


def source_of(kind: str, rows: int, path: str, cache: Path) -> Any:
    """The source, as `data=kind` builds it."""
    if kind == "shapes":
        from imagen.data.shapes_source import ShapesSource

        return ShapesSource(0, rows, "train", 64)
    if kind == "image_folder":
        from imagen.data.image_folder import ImageFolderSource

        return ImageFolderSource(path)
    if kind == "hub":
        from imagen.data.hugging_face import HuggingFaceSource

        return HuggingFaceSource(path, "train")
    from imagen.data.web_dataset import WebDatasetSource

    return WebDatasetSource(path, cache / "shards", cache=cache / "remote", cache_bytes=50_000_000_000)


def proportional_megabytes(process: int) -> float:
    """Memory of a process without files; what it shares with others is divided among them (Linux' Pss_Anon)."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:")) / 1024


def children() -> list[int]:
    return [int(name) for name in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def cpu_seconds() -> float:
    """Of this process and those that it has waited for. Other work on the machine changes them less than the time."""
    return sum(os.times()[:4])


def measure(kind: str, rows: int, path: str, cache: Path) -> dict[str, float]:
    """One start, in this process."""
    import numpy as np
    import torch

    from imagen.data.module import BadPictures, ImagenDataModule
    from imagen.text.cached.store import digests
    from imagen.text.embeddings import TextEmbeddings
    from imagen.text.sources import TextSource

    class Digested(TextSource):
        """Does what the cache does with captions that it has: makes the key of each."""

        features, fingerprint = 4, {"encoder": "none"}  # pyright: ignore[reportAssignmentType]

        def prepare(self, captions: Iterable[str]) -> None:
            self.keys = digests(captions)

        def embed(self, captions: Sequence[str]) -> TextEmbeddings:
            return TextEmbeddings(torch.zeros(len(captions), 4), (1,) * len(captions))

    torch.set_num_threads(1)
    before = proportional_megabytes(os.getpid())
    begun = time.perf_counter()
    source = source_of(kind, rows, path, cache)
    built = time.perf_counter() - begun
    bad = BadPictures(check_first=kind != "shapes")
    data = ImagenDataModule(source, source, Digested(), 16, 64, None, 64, 2, 0, bad_pictures=bad)
    data.prepare_data()
    prepared, busy = time.perf_counter() - begun, cpu_seconds()
    batches = iter(data.train_dataloader())
    first = next(batches)
    assert np.isfinite(first.images.numpy()).all()
    to_first = time.perf_counter() - begun
    for _ in range(10):
        next(batches)
    begun = time.perf_counter()
    for _ in range(BATCHES):
        next(batches)
    per_second = BATCHES * 64 / (time.perf_counter() - begun)
    workers = [proportional_megabytes(child) for child in children()]
    main = proportional_megabytes(os.getpid())
    return {
        "built_s": built, "prepared_s": prepared, "prepared_cpu_s": busy, "first_batch_s": to_first,
        "images_per_s": per_second, "before_mb": before, "main_mb": main, "workers_mb": sum(workers),
    }  # fmt: skip


def in_a_process(kind: str, rows: int, path: str, cache: Path) -> dict[str, float]:
    environment = os.environ | {"HF_DATASETS_CACHE": str(cache / "datasets"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.data_cost", "--one", kind, str(rows), path, str(cache)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def cost(kind: str, rows: int, work: Path) -> list[dict[str, Any]]:
    """The first start, with nothing kept, and a later one."""
    folder, cache = work / "made", work / "cache"
    make(kind, rows, folder)
    try:
        if kind != "s3":
            return [
                {"kind": kind, "rows": rows, "start": start, **in_a_process(kind, rows, str(folder), cache)}
                for start in ("first", "later")
            ]
        sys.path.insert(0, str(ROOT / "tests"))
        from object_storage import s3_server

        with s3_server(work / "log") as storage:
            for shard in sorted(folder.iterdir()):
                storage.put(f"{rows}/{shard.name}", shard)
            found = []
            for start in ("first", "later"):
                storage.asked()
                measured = in_a_process(kind, rows, f"s3://pictures/{rows}", cache)
                asked = [count for _, count in storage.asked()]
                stored = sum(shard.stat().st_size for shard in folder.iterdir())
                requests = {"requests": len(asked), "bytes_read": sum(asked), "bytes_stored": stored}
                found.append({"kind": kind, "rows": rows, "start": start, **measured, **requests})
            return found
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(cache, ignore_errors=True)


def index(rows: int, work: Path) -> dict[str, Any]:
    """Seconds to read the index of `rows` samples the first time, by the number of processes, and from what is kept."""
    from imagen.data.shards import index as reading
    from imagen.data.web_dataset import WebDatasetSource

    folder = work / "made"
    make("webdataset", rows, folder)
    seconds = {}
    for count in sorted({1, reading.cores()}):
        reading.cores = lambda count=count: count
        kept = work / f"index{count}"
        for name in (f"first, {count} processes", f"later, {count} processes"):
            begun = time.perf_counter()
            assert len(WebDatasetSource(folder, kept)) == rows
            seconds[name] = time.perf_counter() - begun
    stored = sum(shard.stat().st_size for shard in folder.iterdir())
    return {"rows": rows, "bytes": stored, "shards": len(list(folder.iterdir())), "seconds": seconds}


def saved() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"cost": [], "index": []}


def save(results: dict[str, Any]) -> None:
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def plot(results: Sequence[dict[str, Any]]) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3.4), constrained_layout=True)
    titles = ("seconds to the first batch\n(dotted: a later start)", "images per second")
    for kind in KINDS:
        of_kind = sorted((one for one in results if one["kind"] == kind), key=lambda one: one["rows"])
        first, later = ([one for one in of_kind if one["start"] == start] for start in ("first", "later"))
        if not later:
            continue
        (line,) = axes[0].plot(
            [one["rows"] for one in first], [one["first_batch_s"] for one in first], "o-", label=kind
        )
        rows = [one["rows"] for one in later]
        axes[0].plot(rows, [one["first_batch_s"] for one in later], "o:", color=line.get_color())
        axes[1].plot(rows, [one["images_per_s"] for one in later], "o-", color=line.get_color())
    for place, title in zip(axes, titles, strict=True):
        place.set(xscale="log", yscale="log", title=title, xlabel="rows")
        place.grid(alpha=0.3)
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(PLOT, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[])
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--index", type=int)
    parser.add_argument("--plot", action="store_true")
    parser.add_argument("--work", type=Path, help="folder for made data, on a disk with room")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        kind, rows, path, cache = given.one
        print(json.dumps(measure(kind, int(rows), path, Path(cache))))
        return
    results = saved()
    for rows in given.rows:
        for kind in given.kinds:
            with tempfile.TemporaryDirectory(dir=given.work) as work:
                for found in cost(kind, rows, Path(work)):
                    print(json.dumps(found), flush=True)
                    same = ("kind", "rows", "start")
                    kept = [one for one in results["cost"] if any(one[key] != found[key] for key in same)]
                    results["cost"] = [*kept, found]
                    save(results)
    if given.index:
        with tempfile.TemporaryDirectory(dir=given.work) as work:
            results["index"] = [index(given.index, Path(work))]
            print(json.dumps(results["index"]), flush=True)
            save(results)
    if given.plot:
        plot(results["cost"])


if __name__ == "__main__":
    main()
