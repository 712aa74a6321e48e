"""Small official data sets for the tests of preparation, made once."""

from __future__ import annotations

import pytest

from tests.data.prepare.layouts import Small, small_coco, small_pascal


@pytest.fixture(scope="session")
def pascal(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small_pascal(tmp_path_factory.mktemp("pascal"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """PASCAL with 12 images, for what is done many times."""
    return small_pascal(tmp_path_factory.mktemp("tiny"), unit=2)


@pytest.fixture(scope="session")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small_coco(tmp_path_factory.mktemp("coco"), 2014)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
