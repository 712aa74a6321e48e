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

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.sbd import read_sbd_labels
from fsseg_bench.errors import UserError
from tests.support.fresh import python
from tests.support.sbd import write_sbd


def saved(compressed: bool = True, **variables: object) -> bytes:
    file = io.BytesIO()
    savemat(file, variables, do_compression=compressed)
    return file.getvalue()


def labels_of(content: bytes) -> UInt8:
    return read_sbd_labels(Path("a.mat"), content)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (7, 1), (1, 3), (0, 4)])
def test_labels_equal_scipys(shape: tuple[int, ...], compressed: bool) -> None:
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    content = saved(compressed, other=np.ones(3), GTcls={"first": np.eye(2), "name": "text", "Segmentation": values})
    found = labels_of(content)
    assert (found.dtype, found.flags.c_contiguous) == (np.uint8, True)
    assert np.array_equal(found, values)
    assert np.array_equal(found, loadmat(io.BytesIO(content))["GTcls"]["Segmentation"].item())


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
    assert np.array_equal(labels_of(saved(GTcls={**before, "Segmentation": values, **fields})), values)


def test_big_endian() -> None:
    """Written by hand: scipy writes the machine's order alone."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    def matrix(kind: int, shape: tuple[int, int], name: bytes, rest: bytes) -> bytes:
        flags = element(6, struct.pack(">II", kind, 0)) + element(5, struct.pack(">ii", *shape))
        return element(14, flags + element(1, name) + rest)

    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    field = matrix(9, (3, 4), b"", element(2, values.tobytes(order="F")))
    small_tag = struct.pack(">HH", 4, 5) + struct.pack(">i", 16)
    struct_ = matrix(2, (1, 1), b"GTcls", small_tag + element(1, b"Segmentation".ljust(16, b"\0")) + field)
    content = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x0100) + b"MI" + struct_
    assert np.array_equal(labels_of(content), values)
    assert np.array_equal(loadmat(io.BytesIO(content))["GTcls"]["Segmentation"].item(), values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a MATLAB 5 file"),
        (bytes(200), "not a MATLAB 5 file"),
        (b"\x89HDF\r\n\x1a\n" * 30, "not a MATLAB 5 file"),
        (saved(T={"Segmentation": np.eye(2)}), "no variable GTcls"),
        (saved(GTcls=np.eye(2)), "not a structure"),
        (saved(GTcls={"Boundaries": np.eye(2)}), "no field Segmentation"),
        (saved(GTcls={"Segmentation": "text"}), "class 4 and shape"),
        (saved(GTcls={"Segmentation": np.eye(2)}), r"class 6 and shape \(2, 2\), not a uint8 image"),
        (saved(GTcls={"Segmentation": np.zeros((2, 3, 4), np.uint8)}), r"shape \(2, 3, 4\), not a uint8 image"),
        (saved(GTcls={"Segmentation": np.eye(2) * 1j}), "complex"),
        (saved(GTcls={"Segmentation": {"y": 1.0}}), "class 2 and shape"),
    ],
)
def test_what_is_not_there_is_said(content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=rf"^a\.mat: not a class mask of SBD \(GTcls\.Segmentation\): .*{message}"):
        labels_of(content)


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsseg_bench.data.sbd._MOST", 10_000)
    with pytest.raises(UserError, match="too large"):
        labels_of(saved(GTcls={"Segmentation": np.zeros((200, 200), np.uint8)}))


@pytest.mark.parametrize("compressed", [True, False])
def test_no_damage_escapes(compressed: bool) -> None:
    """Cut at every length and with random bytes changed: the right array, another one, or a message."""
    values = np.arange(30, dtype=np.uint8).reshape(5, 6)
    content = saved(compressed, GTcls={"a": np.eye(3), "Segmentation": values})
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
            labels_of(case)
        except UserError:
            refused += 1
    assert refused > len(content) - 20


def test_a_file_with_all_of_sbds_fields_needs_no_scipy(tmp_path: Path) -> None:
    labels = np.random.RandomState(1).randint(0, 21, (37, 53)).astype(np.uint8)
    write_sbd(tmp_path / "a.mat", labels)
    assert np.array_equal(read_sbd_labels(tmp_path / "a.mat"), labels)
    code = "import sys; from pathlib import Path; from fsseg_bench.data.sbd import read_sbd_labels\n"
    code += f"print(read_sbd_labels(Path({str(tmp_path / 'a.mat')!r})).sum(), 'scipy' in sys.modules)"
    assert python(code).split() == [str(labels.sum()), "False"]
    with pytest.raises(UserError, match=r"b\.mat: no such mask"):
        read_sbd_labels(tmp_path / "b.mat")
