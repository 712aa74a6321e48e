"""Small official data sets for the tests of preparation, made once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.data.prepare import server as serve
from tests.data.prepare.layouts import Small, small_coco, small_pascal, tree
from tests.data.prepare.running import run
from tests.data.prepare.server import Server, serving


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


@pytest.fixture(autouse=True, scope="session")
def _no_proxy() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        yield


@pytest.fixture(scope="session")
def _both(pascal: Small, coco: Small) -> Iterator[Server]:
    with serving(Server({**pascal.archives, **coco.archives})) as running:
        yield running


@pytest.fixture
def server(_both: Server) -> Server:
    """An honest server of both data sets, until a test gives it another script."""
    _both.script = lambda name, number: serve.honest
    _both.requests.clear()
    return _both


@pytest.fixture(scope="session")
def prepared(
    pascal: Small, tmp_path_factory: pytest.TempPathFactory, _both: Server, _no_proxy: None
) -> dict[str, bytes]:
    """Every file of an undisturbed preparation of PASCAL."""
    root = tmp_path_factory.mktemp("undisturbed")
    run(pascal, root, mirrors=(_both.url,))
    return tree(root)
