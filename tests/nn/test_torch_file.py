"""Sums of torch files: what torch.load lets pass is noticed."""

from __future__ import annotations

import hashlib
import io
import random
import zipfile
from pathlib import Path

import pytest
import torch

from fsseg_bench.nn.torch_file import save_sealed, state_of

CONTENT = {"a": torch.arange(5000.0), "b": {"c": torch.ones(3, 3)}, "n": 7}


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    path = tmp_path / "sealed.pt"
    with path.open("wb") as file:
        save_sealed(CONTENT, file)
    return path


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    torch.save(CONTENT, tmp_path / "plain.pt")
    return tmp_path / "plain.pt"


def test_torch_reads_a_sealed_file_as_any_other(sealed: Path, plain: Path) -> None:
    for path in (sealed, plain):
        found = torch.load(path, weights_only=True)
        assert torch.equal(found["a"], CONTENT["a"])
        assert found["n"] == 7
    assert zipfile.ZipFile(sealed).testzip() is None
    assert (state_of(sealed), state_of(plain)) == ((True, ""), (False, ""))


def test_the_seal_is_the_sha256_of_all_before_it(sealed: Path) -> None:
    data = sealed.read_bytes()
    comment = zipfile.ZipFile(sealed).comment
    assert data.endswith(comment)
    assert comment.decode() == f"fsseg-bench sha256 {hashlib.sha256(data[: -len(comment)]).hexdigest()}"


def test_it_is_written_whatever_the_pieces(sealed: Path) -> None:
    """The seal does not depend on how torch cuts the file into writes."""
    from fsseg_bench.nn.torch_file import _Sealing

    comment = zipfile.ZipFile(sealed).comment
    bare = bytearray(sealed.read_bytes()[: -len(comment)])
    bare[-2:] = b"\0\0"
    for size in (1, 7, 21, 22, 23, 1000, 10**6):
        out = io.BytesIO()
        sealing = _Sealing(out)
        for start in range(0, len(bare), size):
            sealing.write(bytes(bare[start : start + size]))
        sealing.finish()
        assert out.getvalue() == sealed.read_bytes()


def test_any_changed_byte_of_a_sealed_file_shows(sealed: Path) -> None:
    data = sealed.read_bytes()
    places = sorted({*range(200), *range(0, len(data), 97), *range(len(data) - 400, len(data))})
    for place in places:
        sealed.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        found = state_of(sealed)
        assert found.damage or (not found.sealed and place < 4), place  # no zip at all: torch refuses it
    for end in (1, 10, 83, 84, 105, 106, 1000):
        sealed.write_bytes(data[:-end])
        assert state_of(sealed).damage, end
    for more in (b"\0", b"x" * 100, data):
        sealed.write_bytes(data + more)
        assert state_of(sealed).damage


def test_the_content_of_a_plain_file_is_covered_by_its_sums(plain: Path) -> None:
    """A file of another program: what torch.load would read differently is noticed."""
    data = plain.read_bytes()
    rng = random.Random(3)
    unnoticed = 0
    for place in rng.sample(range(len(data)), 400):
        plain.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        if state_of(plain).damage:
            continue
        try:
            found = torch.load(plain, weights_only=True)
        except Exception:  # noqa: BLE001 - refused all the same
            continue
        unnoticed += 1
        assert torch.equal(found["a"], CONTENT["a"]), place
        assert torch.equal(found["b"]["c"], CONTENT["b"]["c"]), place
    assert unnoticed < 60, "dates and the like"


def test_a_zeroed_block_shows(sealed: Path, plain: Path) -> None:
    for path in (sealed, plain):
        data = path.read_bytes()
        path.write_bytes(data[:8192] + bytes(4096) + data[12288:])
        torch.load(path, weights_only=True)  # torch itself notices nothing
        assert state_of(path).damage


def test_files_from_before_zips_have_no_sums(tmp_path: Path) -> None:
    torch.save(CONTENT, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert state_of(tmp_path / "old.pth") == (False, "")
