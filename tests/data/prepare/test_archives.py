"""Hostile and damaged archives."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from fsseg_bench.data.prepare.archives import ArchiveError, Selection, damage, look_through, unpack
from tests.data.prepare.layouts import tar, zipped

FILES = {"top/data/a.jpg": b"aaa", "top/data/sub/b.png": b"bb" * 500, "top/README": b"not kept"}
SELECTION = Selection("top/data", ("*.jpg", "sub/*.png"))
KINDS = ["x.tar", "x.tgz", "x.tar.gz", "x.zip"]


def pack(path: Path, files: dict[str, bytes]) -> Path:
    mode = "w" if path.suffix == ".tar" else "w:gz"
    path.write_bytes(zipped(files) if path.suffix == ".zip" else tar(files, mode))
    return path


def contents(archive: Path, selection: Selection = SELECTION) -> dict[str, bytes]:
    members = look_through(archive, selection)
    found = {}
    for member, file in unpack(archive, selection, members):
        with damage(archive):
            found[member.name] = file.read()
    return found


def refused(archive: Path, message: str, selection: Selection = SELECTION) -> None:
    with pytest.raises(ArchiveError, match=message) as error:
        look_through(archive, selection)
    assert str(archive) in str(error.value)


@pytest.mark.parametrize("name", KINDS)
def test_the_kept_files_come_out(tmp_path: Path, name: str) -> None:
    files = {**FILES, "top/data/c.txt": b"", "top/data/sub/deep/d.png": b"", "top/data/._a.jpg": b"", "a.jpg": b""}
    archive = pack(tmp_path / name, files)
    assert contents(archive) == {"a.jpg": b"aaa", "sub/b.png": b"bb" * 500}
    assert {m.size for m in look_through(archive, SELECTION).values()} == {3, 1000}


def test_names_that_begin_with_a_dot_are_the_same(tmp_path: Path) -> None:
    archive = pack(tmp_path / "x.tar", {f"./{name}": content for name, content in FILES.items()})
    assert set(contents(archive)) == {"a.jpg", "sub/b.png"}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ("/etc/passwd", "has an absolute name"),
        ("//host/share", "has an absolute name"),
        ("C:/windows/x.jpg", "has an absolute name"),
        ("../x.jpg", "climbs out"),
        ("top/data/../../../x.jpg", "climbs out"),
        ("top/data/sub/../../x.png", "climbs out"),
        ("top/data/..", "climbs out"),
        ("top\\data\\x.jpg", "not portable"),
        ("top/data/x\ny.jpg", "not portable"),
        ("top/data/x\x1b[2J.jpg", "not portable"),
    ],
)
def test_names_that_lead_elsewhere(tmp_path: Path, name: str, member: str, reason: str) -> None:
    archive = pack(tmp_path / name, {**FILES, member: b"evil"})
    refused(archive, f"{reason}.*refused")
    with pytest.raises(ArchiveError) as error:
        look_through(archive, SELECTION)
    assert repr(member) in str(error.value)


@pytest.mark.parametrize("name", ["x.tar", "x.tgz"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("member", ["top/data/evil.jpg", "elsewhere"])
def test_links_and_devices_in_tar(tmp_path: Path, kind: bytes, member: str, name: str) -> None:
    path = pack(tmp_path / "x.tar", FILES)
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo(member)
        info.type, info.linkname = kind, "/etc/passwd" if kind == tarfile.SYMTYPE else "top/data/a.jpg"
        archive.addfile(info)
    if name == "x.tgz":
        path = tmp_path / name
        path.write_bytes(gzip.compress((tmp_path / "x.tar").read_bytes()))
    refused(path, f"'{member}' is a link or a device")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_in_zip(tmp_path: Path, mode: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("top/data/evil.jpg")
        info.external_attr = (mode | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path / "x.zip", "'top/data/evil.jpg' is a link or a device")


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    """A few bytes of archive may state a sparse file of any size."""
    info = tarfile.TarInfo("top/data/evil.jpg")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 50)}
    info.pax_headers["GNU.sparse.name"] = "top/data/evil.jpg"
    content = b"0\n".ljust(512, b"\0")
    info.size = len(content)
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(content))
    refused(tmp_path / "x.tar", "'top/data/evil.jpg' is a link or a device")


def test_a_known_archive_may_hold_anything_that_is_not_kept(tmp_path: Path) -> None:
    """Its checksum says that nobody has changed it."""
    trusted = Selection(SELECTION.inside, SELECTION.patterns, trusted=True)
    archive = pack(tmp_path / "x.tar", {**FILES, "../outside": b"", "/absolute": b""})
    refused(archive, "climbs out")
    assert set(contents(archive, trusted)) == {"a.jpg", "sub/b.png"}
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as other:
        info = zipfile.ZipInfo("top/data/evil.jpg")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        other.writestr(info, "/etc/passwd")
    refused(tmp_path / "y.zip", "is a link", trusted)


@pytest.mark.parametrize("name", ["x.tgz", "x.zip"])
@pytest.mark.parametrize("sizes", [[3_000_000], [100_000] * 30], ids=["one", "many"])
def test_bombs_are_refused_before_they_are_opened(tmp_path: Path, name: str, sizes: list[int]) -> None:
    archive = pack(tmp_path / name, {f"top/data/{i}.jpg": bytes(size) for i, size in enumerate(sizes)})
    assert archive.stat().st_size < 20_000
    tight = Selection(SELECTION.inside, SELECTION.patterns, growth=20, spare=1_000_000)
    refused(archive, r"'top/data/\d+\.jpg' its files take more than [\d,]+ bytes", tight)
    assert len(contents(archive)) == len(sizes)  # within the usual limits


@pytest.mark.parametrize("name", KINDS)
def test_files_that_are_not_kept_count_as_well(tmp_path: Path, name: str) -> None:
    """They are not written, but a compressed tar is inflated to get past them."""
    archive = pack(tmp_path / name, {"other/large": bytes(30_000_000)})
    tight = Selection(SELECTION.inside, SELECTION.patterns, growth=0, spare=1_000_000)
    refused(archive, "'other/large' its files take more than", tight)


def test_a_gzip_that_goes_on_after_the_tar(tmp_path: Path) -> None:
    (tmp_path / "x.tgz").write_bytes(gzip.compress(tar(FILES) + bytes(70 << 20), 1))
    refused(tmp_path / "x.tgz", "goes on after its end")


def test_too_many_members(tmp_path: Path) -> None:
    archive = pack(tmp_path / "x.tar", {f"other/{i}": b"" for i in range(20)})
    few = Selection(SELECTION.inside, SELECTION.patterns, most_members=10)
    refused(archive, "more than 10 members", few)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_there_twice(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("top/data/a.jpg", b"one")
            archive.writestr("top/data/a.jpg", b"two")
    else:
        content = tar({"top/data/a.jpg": b"one"})[:1024] + tar({"./top/data/a.jpg": b"two"})
        path.write_bytes(content if name == "x.tar" else gzip.compress(content))
    refused(path, r"a\.jpg' is there twice")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", bytes(5000)])
def test_no_archive_at_all(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    if name == "x.tar" and content == bytes(5000):
        assert look_through(tmp_path / name, SELECTION) == {}  # a tar archive without members
    else:
        refused(tmp_path / name, "damaged, or not an archive")
    refused(tmp_path / f"missing-{name}", "damaged, or not an archive")


@pytest.mark.parametrize("name", ["x.tgz", "x.zip"])
def test_a_changed_byte_in_a_compressed_archive_is_seen(tmp_path: Path, name: str) -> None:
    """Both carry checksums; a plain tar carries none."""
    files = {f"top/data/{i}.jpg": bytes(range(256)) * (i + 1) for i in range(8)}
    archive = pack(tmp_path / name, files)
    sound = archive.read_bytes()
    for at in range(20, len(sound) - 20, 97):
        damaged = bytearray(sound)
        damaged[at] ^= 0x55
        archive.write_bytes(bytes(damaged))
        try:
            found = contents(archive)
        except ArchiveError:
            continue
        # What is not content (names, dates) is not covered by a zip's sums; no content may differ.
        assert all(content == files[f"top/data/{path}"] for path, content in found.items())


@pytest.mark.parametrize("name", KINDS)
def test_a_cut_archive(tmp_path: Path, name: str) -> None:
    """Cut at any length: what comes out is right, and for zip and gzip a cut is an error."""
    files = {f"top/data/{i}.jpg": bytes([i]) * 3000 for i in range(5)}
    sound = pack(tmp_path / name, files).read_bytes()
    archive = tmp_path / name
    for length in range(1, len(sound) - 1, max(1, len(sound) // 50)):
        archive.write_bytes(sound[:length])
        try:
            found = contents(archive)
        except ArchiveError:
            continue
        assert name == "x.tar"
        assert all(content == files[f"top/data/{path}"] for path, content in found.items())


def test_an_encrypted_member(tmp_path: Path) -> None:
    archive = pack(tmp_path / "x.zip", {"top/data/a.jpg": b"aaa"})
    content = bytearray(archive.read_bytes())
    for signature, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = content.rindex(signature) + at
        struct.pack_into("<H", content, start, 1)
    archive.write_bytes(bytes(content))
    with pytest.raises(ArchiveError, match="encrypted"):
        contents(archive)
