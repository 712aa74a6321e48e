from pathlib import Path

import pytest

from fsseg_bench.report.labelling import reconstructions

CARD = '"""A method.\n\nTitle: T\nFidelity: {}\n"""\n'


def test_only_cards_that_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "guessed_one.py").write_text(CARD.format("reconstruction"))
    (tmp_path / "sure_one.py").write_text(CARD.format("parity"))
    monkeypatch.setenv("FSSEG_METHODS_PATH", str(tmp_path))
    found = reconstructions()
    assert "guessed-one" in found
    assert not found & {"sure-one", "panet", "biopt"}
