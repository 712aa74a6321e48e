from pathlib import Path

import pytest

from fsseg_bench.registry import forget_methods_path
from fsseg_bench.report.fidelity import reconstructions

CARD = '"""A method.\n\nTitle: T\nFidelity: {}\n"""\n'


def test_only_cards_that_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "guessed_one.py").write_text(CARD.format("reconstruction"))
    (tmp_path / "sure_one.py").write_text(CARD.format("parity"))
    monkeypatch.setenv("FSSEG_METHODS_PATH", str(tmp_path))
    try:
        found = reconstructions()
    finally:
        forget_methods_path(tmp_path)
    assert "guessed-one" in found
    assert not found & {"sure-one", "panet", "biopt"}
