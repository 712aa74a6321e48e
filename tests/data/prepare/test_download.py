"""Downloads from a loopback server that misbehaves."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from fsseg_bench.data.prepare.download import DownloadError, Patience, difference, download
from fsseg_bench.data.prepare.sources import Part
from fsseg_bench.errors import UserError
from fsseg_bench.progress import Progress
from tests.data.prepare import server as serve
from tests.data.prepare.running import PATIENCE, Recorder
from tests.data.prepare.server import Behaviour, Server, serving

NAME = "data.zip"
QUICK = Patience(timeout=0.15, tries=3, pause=0.0)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server({NAME: random.Random(1).randbytes(120_000)})) as running:
        yield running


def archive_of(server: Server, *, kind: str = "sha256", urls: int = 1, name: str = NAME) -> Part:
    content = server.files[name]
    digest = {kind: hashlib.new(kind, content).hexdigest()} if kind else {}
    return part(name, tuple(f"{server.url}/{i}/{name}" for i in range(urls)), len(content), **digest)


def part(archive: str, urls: tuple[str, ...], size: int, **digest: str) -> Part:
    return Part("Title", "free", archive, urls, size, 1, "inside", "target", {}, **digest)


def fetch(archive: Part, folder: Path, *mirrors: str, patience: Patience = PATIENCE) -> Path:
    return download(archive, folder, mirrors, patience, Progress())


def script(server: Server, *behaviours: Behaviour) -> None:
    server.script = lambda name, number: behaviours[min(number, len(behaviours) - 1)]


@pytest.mark.parametrize("kind", ["sha256", "md5", ""])
def test_an_undisturbed_download(server: Server, tmp_path: Path, kind: str) -> None:
    path = fetch(archive_of(server, kind=kind), tmp_path / "new")
    assert path == tmp_path / "new" / NAME
    assert path.read_bytes() == server.files[NAME]
    assert [p.name for p in path.parent.iterdir()] == [NAME]
    assert server.requests == [(NAME, 0)]


def test_a_size_that_is_not_known_is_asked_for(server: Server, tmp_path: Path) -> None:
    """Then the download is as any other: it goes on where it broke off, and ends at the size that was stated."""
    unknown = dataclasses.replace(archive_of(server, kind=""), size=0)
    script(server, serve.status(404), serve.drop(0.0), serve.drop(0.5), serve.honest)
    path = fetch(unknown, tmp_path, f"{server.url}/mirror")
    assert path.read_bytes() == server.files[NAME]
    assert [start for _, start in server.requests] == [0, 0, 0, 60_000]
    assert fetch(unknown, tmp_path) == path
    assert len(server.requests) == 4
    script(server, serve.status(404))
    with pytest.raises(DownloadError, match=r"could not be downloaded:\n  http.*: 404"):
        fetch(unknown, tmp_path / "new")


@pytest.mark.parametrize(
    ("there", "size", "starts"),
    [
        (NAME, 0, []),
        (NAME, 120_000, [0]),
        (f"{NAME}.part", 0, []),
        (f"{NAME}.part", 50_000, [50_000, 0]),  # started anew at the same address
        (f"{NAME}.part", 120_000, [0]),
        (f"{NAME}.part", 130_000, [0]),
    ],
)
def test_what_is_there(server: Server, tmp_path: Path, there: str, size: int, starts: list[int]) -> None:
    """The right bytes, or ``size`` wrong ones, under the name of the file or of its part."""
    (tmp_path / there).write_bytes(bytes(size) or server.files[NAME])
    assert fetch(archive_of(server), tmp_path).read_bytes() == server.files[NAME]
    assert [start for _, start in server.requests] == starts


def test_a_broken_connection_goes_on_by_range(server: Server, tmp_path: Path) -> None:
    script(server, serve.drop(0.5), serve.drop(0.0), serve.drop(0.5), serve.honest)
    assert fetch(archive_of(server), tmp_path).read_bytes() == server.files[NAME]
    assert [start for _, start in server.requests] == [0, 60_000, 60_000, 90_000]
    assert server.sent[NAME] == 120_000  # no byte came twice


def test_a_stall_loses_nothing(server: Server, tmp_path: Path) -> None:
    script(server, serve.stall(0.3, 1.0), serve.honest)
    assert fetch(archive_of(server), tmp_path, patience=QUICK).read_bytes() == server.files[NAME]
    assert server.requests == [(NAME, 0), (NAME, 36_000)]
    assert server.sent[NAME] == 120_000


def test_the_next_call_goes_on(server: Server, tmp_path: Path) -> None:
    script(server, serve.drop(0.25), *[serve.status(503)] * 3, serve.honest)
    with pytest.raises(DownloadError, match="503"):
        fetch(archive_of(server), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [f"{NAME}.part"]
    assert fetch(archive_of(server), tmp_path).read_bytes() == server.files[NAME]
    assert server.requests[-1] == (NAME, 30_000)


def test_a_server_without_ranges_does_not_cost_what_is_there(server: Server, tmp_path: Path) -> None:
    """It starts again from 0 and breaks off early: the longer beginning stays."""
    whole = server.files[NAME]

    def early(request: serve.Request) -> None:
        request.start = 0
        serve.drop(0.1)(request)

    script(server, serve.drop(0.8), early, serve.honest)
    assert fetch(archive_of(server), tmp_path).read_bytes() == whole
    assert [start for _, start in server.requests] == [0, 96_000, 96_000]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (serve.html, "a web page"),
        (serve.status(404), "404"),
        (serve.status(403), "403"),
        (serve.wrong_length, "119,993 bytes; 120,000 were expected"),
        (serve.too_long, "longer than expected"),
        (serve.wrong_bytes(3), "the SHA256"),
        (serve.disguised_html, "early"),
        (serve.hang_up, "the connection broke"),
        (serve.status(503), "503"),
        (serve.stall(0.0, 0.6), "nothing came for too long"),
        (serve.status(204), "204"),
    ],
)
def test_nothing_wrong_is_accepted(server: Server, tmp_path: Path, behaviour: Behaviour, reason: str) -> None:
    script(server, behaviour)
    with pytest.raises(DownloadError, match=reason) as error:
        fetch(archive_of(server), tmp_path, patience=QUICK if reason.startswith("nothing") else PATIENCE)
    assert f"{server.url}/0/{NAME}" in str(error.value)
    assert not (tmp_path / NAME).exists()
    script(server, serve.honest)
    assert fetch(archive_of(server), tmp_path).read_bytes() == server.files[NAME]


@pytest.mark.parametrize("behaviour", [serve.html, serve.status(404), serve.wrong_length, serve.wrong_start])
def test_a_refused_answer_does_not_cost_what_is_there(server: Server, tmp_path: Path, behaviour: Behaviour) -> None:
    script(server, serve.drop(0.5), behaviour)
    with pytest.raises(DownloadError):
        fetch(archive_of(server), tmp_path)
    script(server, serve.honest)
    fetch(archive_of(server), tmp_path)
    assert server.requests[-1] == (NAME, 60_000)


def test_mirrors_come_first_and_addresses_step_in_for_each_other(server: Server, tmp_path: Path) -> None:
    asked: list[str] = []

    def note(name: str, behaviour: Behaviour) -> Behaviour:
        def behave(request: serve.Request) -> None:
            asked.append(request.handler.path)
            behaviour(request)

        return behave

    behaviours = [serve.wrong_bytes(1), serve.drop(0.5), serve.honest]
    server.script = lambda name, number: note(name, behaviours[number])
    path = fetch(archive_of(server, urls=2), tmp_path, f"{server.url}/mirror/")
    assert path.read_bytes() == server.files[NAME]
    assert asked == [f"/mirror/{NAME}", f"/0/{NAME}", f"/1/{NAME}"]
    assert [start for _, start in server.requests] == [0, 0, 60_000]


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        *((a, "not a.*address") for a in ("ftp://127.0.0.1/x", "file:///etc/passwd", "http://[broken", "no address")),
        ("http://127.0.0.1:9/x", "no connection"),
    ],
)
def test_addresses_that_give_nothing(tmp_path: Path, address: str, reason: str) -> None:
    with pytest.raises(DownloadError, match=reason):
        fetch(part(NAME, (address,), 5), tmp_path)


def test_every_byte_is_shown_once(server: Server, tmp_path: Path) -> None:
    script(server, serve.drop(0.5), serve.ignore_range)
    progress = Recorder()
    download(archive_of(server), tmp_path, (), PATIENCE, progress)
    assert progress.done[NAME] == 120_000
    assert progress.done[f"checking {NAME}"] == 120_000


def test_the_difference_is_named(server: Server, tmp_path: Path) -> None:
    archive = archive_of(server, kind="md5")
    path = tmp_path / NAME
    path.write_bytes(server.files[NAME][:-1])
    assert difference(path, archive, Progress()) == "119,999 bytes, not 120,000"
    path.write_bytes(bytes(120_000))
    expected = hashlib.md5(server.files[NAME]).hexdigest()
    assert difference(path, archive, Progress()) == f"the MD5 {hashlib.md5(bytes(120_000)).hexdigest()}, not {expected}"


def test_a_full_disk(server: Server, tmp_path: Path) -> None:
    """/dev/full answers every write as a full disk does."""
    (tmp_path / f"{NAME}.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"data\.zip\.part: the disk is full \(No space left on device\).*same command"):
        fetch(archive_of(server), tmp_path)
    assert not (tmp_path / NAME).exists()


def random_behaviour(rng: random.Random) -> Behaviour:
    return rng.choice(
        [
            serve.drop(rng.random()),
            serve.drop(rng.random()),
            serve.drop(0.0),
            serve.no_length,
            serve.no_length_drop(rng.random()),
            serve.too_long,
            serve.ignore_range,
            serve.wrong_length,
            serve.wrong_bytes(rng.randrange(254)),
            serve.wrong_start,
            serve.html,
            serve.disguised_html,
            serve.status(rng.choice([404, 403, 500, 502, 503, 429, 416])),
            serve.hang_up,
            serve.stall(rng.random(), 0.4),
            serve.honest,
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("block", range(8))
def test_randomly_disturbed_downloads_end_as_undisturbed_ones(tmp_path: Path, block: int) -> None:
    """8 x 30 downloads, each through a random sequence of faults; half of them from servers of wrong files too."""
    server = Server({})
    with serving(server):
        for number in range(30):
            rng = random.Random(1000 * block + number)
            name = f"{number}.tgz"
            content = server.files[name] = rng.randbytes(rng.choice([1, 999, 20_000, 90_000]))
            faults = [random_behaviour(rng) for _ in range(rng.randrange(2, 9))]
            lossless = number % 2 == 0
            if lossless:  # only what a good server on a bad line does
                faults = [rng.choice([serve.drop(rng.random()), serve.status(503), serve.hang_up]) for _ in faults]
            script(server, *faults, serve.honest)
            folder, patience = tmp_path / str(number), PATIENCE if lossless else QUICK
            archive = archive_of(server, urls=1 + number % 3, name=name)
            for _ in range(20):
                try:
                    download(archive, folder, (), patience, Progress())
                except DownloadError:
                    assert not (folder / name).exists()
                    continue
                break
            assert [path.name for path in folder.iterdir()] == [name]
            assert (folder / name).read_bytes() == content
            if lossless:
                assert server.sent[name] == len(content), "a right byte was downloaded twice"
