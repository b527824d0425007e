"""The fetch command with a local server: a file gets its name only if it is whole and verified."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from imagen.app.fetch import fetch_all, parser
from imagen.commandline.command import run_reporting_errors

CONTENT = bytes(range(256)) * 12_000  # three blocks of the download


@pytest.fixture
def run(tmp_path, lock, capsys):
    """run(files or None, *arguments) -> exit code and what was printed; the models are in tmp_path/models."""

    def call(*arguments: str, ids: tuple[str, ...] = ("toy",)) -> tuple[int, str]:
        given = [*ids, "--lock", f"{tmp_path}/toy.lock", "--to", f"{tmp_path}/models", "--first-wait=0.01", *arguments]
        code = run_reporting_errors(lambda: fetch_all(parser().parse_args(given)))
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return call


@pytest.fixture
def target(tmp_path):
    return tmp_path / "models" / "toy" / "weights.bin"


@pytest.fixture
def part(target):
    return target.with_name("weights.bin.part")


def test_a_file_arrives_whole_and_is_not_fetched_twice(run, lock, served, target, part):
    lock({"weights.bin": CONTENT, "config.json": b"{}"})
    code, said = run()
    assert code == 0
    assert "licence CC0-1.0" in said
    assert target.read_bytes() == CONTENT
    assert not part.exists()
    assert run()[0] == 0
    assert len(served.asked) == 2


def test_another_content_than_the_lock_says_gets_no_name(run, lock, served, target, part):
    lock({"weights.bin": CONTENT})
    served.files["weights.bin"] = CONTENT[:-1] + b"!"
    code, said = run()
    assert code == 3
    expected, found = (hashlib.sha256(content).hexdigest() for content in (CONTENT, served.files["weights.bin"]))
    assert f"sha256 is {found}, expected {expected}" in said
    assert not target.exists()
    assert not part.exists()


def test_a_file_that_was_changed_on_disk_is_refused(run, lock, target):
    lock({"weights.bin": CONTENT})
    run()
    target.write_bytes(b"other")
    code, said = run()
    assert code == 3
    assert f"{target}: sha256 is" in said
    assert "delete the file" in said


def test_another_size_is_refused_before_it_is_stored(run, lock, served, part):
    lock({"weights.bin": CONTENT})
    served.files["weights.bin"] = CONTENT + b"more"
    code, said = run()
    assert code == 2
    assert f"has {len(CONTENT) + 4} bytes, the lock file says {len(CONTENT)}" in said
    assert part.stat().st_size == 0


@pytest.mark.parametrize("sized", [True, False])
def test_a_cut_connection_is_resumed_where_it_was_cut(run, lock, served, target, sized):
    lock({"weights.bin": CONTENT}, sized=sized)
    served.cut_after = [1_500_000, 1000]
    assert run()[0] == 0
    assert target.read_bytes() == CONTENT
    assert served.asked == [None, "bytes=1500000-", "bytes=1501000-"]


def test_a_server_that_cannot_resume_begins_again(run, lock, served, target):
    lock({"weights.bin": CONTENT})
    served.cut_after, served.ranges = [2_000_000], False
    assert run()[0] == 0
    assert target.read_bytes() == CONTENT


def test_errors_of_the_server_are_tried_again_and_refusals_are_not(run, lock, served, target):
    lock({"weights.bin": CONTENT})
    served.statuses = [503, 429]
    assert run()[0] == 0
    assert len(served.asked) == 3
    target.unlink()
    served.statuses = [403]
    code, said = run()
    assert code == 3
    assert "answers 403" in said
    assert len(served.asked) == 4


def test_a_server_that_is_not_there_is_given_up_and_what_arrived_is_kept(run, lock, served, part):
    lock({"weights.bin": CONTENT})
    served.cut_after = [1_000_000]
    served.statuses = []
    code, said = run("--mirror", "http://127.0.0.1:9", "--tries=2")
    assert code == 3
    assert "no answer from 127.0.0.1:9" in said
    assert "2 times in a row" in said
    part.write_bytes(CONTENT[:1_000_000])
    served.cut_after = []
    assert run()[0] == 0
    assert served.asked == ["bytes=1000000-"]


def test_what_was_kept_and_does_not_fit_is_fetched_anew(run, lock, served, target, part):
    lock({"weights.bin": b"short"}, sized=False)
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    assert run()[0] == 0
    assert target.read_bytes() == b"short"
    assert served.asked == [f"bytes={len(CONTENT)}-", None]


def test_a_full_disk_is_known_before_and_said_with_both_numbers(run, lock, target, monkeypatch):
    lock({"weights.bin": CONTENT})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 0, 10))
    code, said = run()
    assert code == 3
    assert f"needs {len(CONTENT)} more bytes, 10 are free" in said
    assert not target.exists()


def test_an_unknown_hash_needs_trust_is_printed_and_is_expected_from_then_on(run, lock, served, target, tmp_path):
    lock({"weights.bin": CONTENT}, hashed=False)
    code, said = run()
    assert code == 2
    assert "the sha256 of weights.bin is not known here" in said
    assert served.asked == []
    digest = hashlib.sha256(CONTENT).hexdigest()
    code, said = run("--trust-on-first-use")
    assert code == 0
    assert f"sha256 {digest}, trusted on first use" in said
    assert json.loads((tmp_path / "models" / "fetched.lock").read_text()) == {"toy/weights.bin": digest}
    target.unlink()
    served.files["weights.bin"] = CONTENT[::-1]
    code, said = run("--trust-on-first-use")
    assert code == 3
    assert f"expected {digest}" in said
    assert not target.exists()


def test_a_copy_or_a_mirror_is_held_to_the_same_hash(run, lock, served, target, tmp_path):
    lock({"weights.bin": CONTENT})
    copies = tmp_path / "copies"
    copies.mkdir()
    (copies / "weights.bin").write_bytes(b"other")
    assert run("--from", str(copies))[0] == 3
    assert not target.exists()
    (copies / "weights.bin").write_bytes(CONTENT)
    assert run("--from", str(copies))[0] == 0
    assert served.asked == []
    target.unlink()
    code, said = run("--from", str(tmp_path / "models"))
    assert code == 2
    assert "holds neither toy/weights.bin nor weights.bin" in said


def test_a_proxy_is_asked_instead_of_the_server(run, lock, served, target, tmp_path):
    path = lock({"weights.bin": CONTENT})
    path.write_text(path.read_text().replace(served.address, "http://models.invalid"))
    assert run("--proxy", served.address)[0] == 0
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (("tou",), "did you mean toy"),
        ((), "which models?"),
        (("me/toy",), "toy: toy, 3.07 MB"),
        (("toy",), "answers 404"),
    ],
)
def test_wrong_calls_are_one_line(run, lock, served, ids, expected):
    lock({"weights.bin": CONTENT})
    served.files.clear()
    code, said = run(ids=ids)
    assert code in (2, 3)
    assert expected in said
    assert "Traceback" not in said


def test_lock_files_that_lead_elsewhere_or_are_damaged_are_refused(run, lock, tmp_path):
    path = lock({"weights.bin": CONTENT})
    whole = path.read_text()
    for wrong, expected in (
        *(
            (whole.replace('"weights.bin"', json.dumps(name)), "leads out of its folder, or is no name")
            for name in (
                "../weights.bin",
                "unet/../../weights.bin",
                "/weights.bin",
                "unet//weights.bin",
                "unet/",
                "",
                ".",
                "unet\\..\\weights.bin",
                "C:/weights.bin",
                "~/weights.bin",
                "unet/.hidden",
                "a\0b",
                7,
            )
        ),
        (whole.replace('"use"', '"gated": 7, "use"'), "gated is 7, no text"),
        (whole.replace("http://", "file://"), "not an http or https address"),
        (whole[:-5], "not JSON"),
    ):
        path.write_text(wrong)
        code, said = run()
        assert code == 2
        assert expected in said


def test_files_in_folders_of_a_model_arrive_in_them(run, lock, served, tmp_path):
    names = ["model_index.json", "unet/config.json", "text_encoder/model-00001-of-00002.safetensors"]
    path = lock({name: name.encode() for name in names})
    served.files |= {name.rsplit("/", 1)[-1]: name.encode() for name in names}
    assert run()[0] == 0
    assert all((tmp_path / "models" / "toy" / name).read_bytes() == name.encode() for name in names)
    shutil.move(tmp_path / "models" / "toy", tmp_path / "copy")
    assert path.is_file()
    assert run("--from", f"{tmp_path}/copy")[0] == 0
    assert (tmp_path / "models" / "toy" / "unet" / "config.json").is_file()
    assert len(served.asked) == 3


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_a_gated_model_says_the_way_in(run, lock, served, tmp_path, status):
    path = lock({"unet/weights.bin": CONTENT})
    path.write_text(path.read_text().replace('"use"', '"gated": "accept the licence", "use"'))
    served.statuses = [status]
    code, said = run()
    assert code == 3
    way_in = (
        f"accept the licence, then `hf download me/toy unet/weights.bin --local-dir {tmp_path}/models/toy` with your"
    )
    assert f"toy is gated: {way_in}" in said  # before it asks
    assert f"toy is not given to everybody: {way_in} token, or `imagen fetch toy --from FOLDER" in said.splitlines()[-1]
    served.statuses = [404]
    assert "answers 404" in run()[1]


def start(lock_file, models):
    """The command in a process of its own, which hears SIGINT even where this one, in the background, does not."""
    command = [sys.executable, "-m", "imagen.app.fetch", "toy", "--lock", str(lock_file), "--to", str(models)]
    hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen([*command, "--first-wait=60"], stderr=subprocess.PIPE, text=True, preexec_fn=hear)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_fetch_goes_on_from_what_arrived(run, lock, served, target, part, tmp_path, number):
    path = lock({"weights.bin": CONTENT})
    served.cut_after = [2_000_000]
    process = start(path, tmp_path / "models")
    until = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size == 2_000_000) and time.monotonic() < until:
        time.sleep(0.02)
    code, said = run()
    assert code == 3
    assert "is being fetched by another process" in said
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert not target.exists()
    assert run()[0] == 0
    assert target.read_bytes() == CONTENT
    assert served.asked == [None, "bytes=2000000-"]
