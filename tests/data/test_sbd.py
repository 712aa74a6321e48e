"""SBD's MATLAB masks, written by scipy with the structure of SBD's own files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fsseg_bench.data.sbd import read_sbd_labels
from fsseg_bench.errors import UserError
from tests.support.fresh import python
from tests.support.sbd import write_sbd


@pytest.mark.parametrize("compressed", [True, False])
def test_reads_the_segmentation_field(tmp_path: Path, compressed: bool) -> None:
    labels = np.random.RandomState(0).randint(0, 21, (30, 40)).astype(np.uint8)
    write_sbd(tmp_path / "a.mat", labels, compressed)
    read = read_sbd_labels(tmp_path / "a.mat")
    assert read.dtype == np.uint8
    assert read.flags.c_contiguous
    assert np.array_equal(read, labels)


def test_a_mask_of_one_row_keeps_its_shape(tmp_path: Path) -> None:
    write_sbd(tmp_path / "a.mat", np.array([[0, 3, 3]], dtype=np.uint8))
    assert read_sbd_labels(tmp_path / "a.mat").shape == (1, 3)


def test_equals_scipys_reader_and_needs_no_scipy(tmp_path: Path) -> None:
    labels = np.random.RandomState(1).randint(0, 21, (37, 53)).astype(np.uint8)
    write_sbd(tmp_path / "a.mat", labels)
    from scipy.io import loadmat

    assert np.array_equal(
        loadmat(tmp_path / "a.mat")["GTcls"]["Segmentation"].item(), read_sbd_labels(tmp_path / "a.mat")
    )
    code = "import sys; from pathlib import Path; from fsseg_bench.data.sbd import read_sbd_labels\n"
    code += f"print(read_sbd_labels(Path({str(tmp_path / 'a.mat')!r})).sum(), 'scipy' in sys.modules)"
    assert python(code).split() == [str(labels.sum()), "False"]


def test_files_that_are_no_sbd_masks(tmp_path: Path) -> None:
    from scipy.io import savemat

    sound = tmp_path / "sound.mat"
    write_sbd(sound, np.random.RandomState(0).randint(0, 21, (60, 60)).astype(np.uint8))
    content = sound.read_bytes()
    files = {
        "empty": b"",
        "text": b"nothing of the kind, but longer than a header" * 5,
        "cut": content[: len(content) // 2],
        "damaged": content[:200] + bytes(60) + content[260:],
    }
    for name, data in files.items():
        (tmp_path / f"{name}.mat").write_bytes(data)
    savemat(tmp_path / "other.mat", {"GTinst": {"Segmentation": np.zeros((2, 2))}})
    savemat(tmp_path / "field.mat", {"GTcls": {"Boundaries": np.zeros((2, 2))}})
    savemat(tmp_path / "plain.mat", {"GTcls": np.zeros((2, 2))})
    savemat(tmp_path / "kind.mat", {"GTcls": {"Segmentation": np.zeros((2, 2))}})
    for name in (*files, "other", "field", "plain", "kind", "gone"):
        with pytest.raises(UserError, match=rf"{name}\.mat"):
            read_sbd_labels(tmp_path / f"{name}.mat")
