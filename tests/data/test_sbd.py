"""SBD's masks and the MATLAB 5 files that they come in, against scipy's writer and reader."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from fsseg_bench.data.sbd import FormatError, read_field, read_sbd_labels
from fsseg_bench.errors import UserError
from tests.support.fresh import python
from tests.support.sbd import write_sbd

KINDS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]


def saved(compressed: bool = True, **variables: object) -> bytes:
    file = io.BytesIO()
    savemat(file, variables, do_compression=compressed)
    return file.getvalue()


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (7, 1), (2, 3, 4), (0, 4)])
def test_arrays_of_every_kind_equal_scipys(kind: str, shape: tuple[int, ...], compressed: bool) -> None:
    values = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    content = saved(compressed, other=np.ones(3), S={"first": np.eye(2), "name": "text", "wanted": values})
    found = read_field(content, "S", "wanted")
    reference = loadmat(io.BytesIO(content))["S"]["wanted"].item()
    assert found.dtype == reference.dtype == np.dtype(kind)
    assert np.array_equal(found, values)
    assert np.array_equal(found, reference)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(0, 2**32 - 1),
    st.dictionaries(st.text("abcXYZ_", min_size=1, max_size=20), st.integers(-5, 5), max_size=4),
)
def test_random_structures(height: int, width: int, seed: int, others: dict[str, int]) -> None:
    """Any place of the field, any size (short ones lie in their tag), fields of any name length beside it."""
    values = np.random.RandomState(seed).randint(0, 256, (height, width)).astype(np.uint8)
    fields = {f"A{name}": value for name, value in others.items()}
    before = dict(list(fields.items())[:2])
    content = saved(GTcls={**before, "Segmentation": values, **fields})
    assert np.array_equal(read_field(content, "GTcls", "Segmentation"), values)


def test_big_endian(tmp_path: Path) -> None:
    """Written by hand: scipy writes the machine's order alone."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    def matrix(kind: int, shape: tuple[int, int], name: bytes, rest: bytes) -> bytes:
        flags = element(6, struct.pack(">II", kind, 0)) + element(5, struct.pack(">ii", *shape))
        return element(14, flags + element(1, name) + rest)

    values = np.arange(12, dtype=">u2").reshape(3, 4)
    field = matrix(11, (3, 4), b"", element(4, values.tobytes(order="F")))
    small_tag = struct.pack(">HH", 4, 5) + struct.pack(">i", 8)
    struct_ = matrix(2, (1, 1), b"GTcls", small_tag + element(1, b"Values\0\0") + field)
    content = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x0100) + b"MI" + struct_
    (tmp_path / "big.mat").write_bytes(content)
    assert np.array_equal(read_field(content, "GTcls", "Values"), values)
    assert np.array_equal(loadmat(tmp_path / "big.mat")["GTcls"]["Values"].item(), values)


def test_numbers_in_a_smaller_type_than_their_class() -> None:
    """MATLAB stores whole float64 values as bytes; here the stored type of scipy's file is changed."""
    content = bytearray(saved(False, S={"x": np.array([[1.0, 2.0, 3.0, 4.0]])}))
    at = content.rindex(np.arange(1.0, 5.0).tobytes())
    assert struct.unpack_from("<II", content, at - 8) == (9, 32)
    content[at - 8 : at + 32] = struct.pack("<II", 2, 4) + bytes([1, 2, 3, 4]) + bytes(4) + bytes(24)
    found = read_field(bytes(content), "S", "x")
    assert found.dtype == np.float64
    assert found.tolist() == [[1.0, 2.0, 3.0, 4.0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a MATLAB 5 file"),
        (bytes(200), "not a MATLAB 5 file"),
        (b"\x89HDF\r\n\x1a\n" * 30, "not a MATLAB 5 file"),
        (saved(T={"x": np.eye(2)}), "no variable S"),
        (saved(S=np.eye(2)), "not a structure"),
        (saved(S={"y": np.eye(2)}), "no field x"),
        (saved(S={"x": "text"}), "class 4, not of numbers"),
        (saved(S={"x": np.eye(2) * 1j}), "complex"),
        (saved(S={"x": {"y": 1.0}}), "class 2, not of numbers"),
    ],
)
def test_what_is_not_there_is_said(content: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_field(content, "S", "x")


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsseg_bench.data.sbd._MOST", 10_000)
    with pytest.raises(FormatError, match="too large"):
        read_field(saved(S={"x": np.zeros((200, 200), np.uint8)}), "S", "x")


@pytest.mark.parametrize("compressed", [True, False])
def test_no_damage_escapes(compressed: bool) -> None:
    """Cut at every length and with random bytes changed: the right array, another one, or FormatError."""
    content = saved(compressed, S={"a": np.eye(3), "x": np.arange(30, dtype=np.uint8).reshape(5, 6)})
    rng = np.random.RandomState(0)
    cases = [content[:n] for n in range(len(content))]
    for _ in range(2000):
        damaged = bytearray(content)
        for at in rng.randint(128, len(content), rng.randint(1, 4)):
            damaged[at] = rng.randint(256)
        cases.append(bytes(damaged))
    refused = 0
    for case in cases:
        try:
            read_field(case, "S", "x")
        except FormatError:
            refused += 1
    assert refused > len(content) - 20


def test_labels_equal_scipys_and_need_no_scipy(tmp_path: Path) -> None:
    labels = np.random.RandomState(1).randint(0, 21, (37, 53)).astype(np.uint8)
    write_sbd(tmp_path / "a.mat", labels)
    read = read_sbd_labels(tmp_path / "a.mat")
    assert (read.dtype, read.flags.c_contiguous) == (np.uint8, True)
    assert np.array_equal(read, labels)
    assert np.array_equal(loadmat(tmp_path / "a.mat")["GTcls"]["Segmentation"].item(), labels)
    code = "import sys; from pathlib import Path; from fsseg_bench.data.sbd import read_sbd_labels\n"
    code += f"print(read_sbd_labels(Path({str(tmp_path / 'a.mat')!r})).sum(), 'scipy' in sys.modules)"
    assert python(code).split() == [str(labels.sum()), "False"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (saved(GTcls={"Segmentation": np.zeros((60, 60), np.uint8)})[:-40], "not a class mask of SBD"),
        (saved(GTcls={"Boundaries": np.eye(2)}), "not a class mask of SBD .*no field Segmentation"),
        (saved(GTcls={"Segmentation": np.eye(2)}), "GTcls.Segmentation is float64 .*not a uint8 image"),
        (None, "no such mask"),
    ],
)
def test_files_that_are_no_sbd_masks(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.mat: {message}"):
        read_sbd_labels(tmp_path / "a.mat")
