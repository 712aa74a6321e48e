"""The world of the campaign of damaged inputs, made once for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mutations.world import World, make_world


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FSSEG_CACHE", str(root / "cache"))
        patch.chdir(root)
        yield make_world(root)


@pytest.fixture(autouse=True)
def _cache(world: World, _own_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSSEG_CACHE", str(world.root / "cache"))
