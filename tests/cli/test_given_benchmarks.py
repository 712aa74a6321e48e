"""From what people have of a benchmark, over ``data prepare --from``, to the table: the whole way for each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from fsseg_bench.cli.main import main
from fsseg_bench.data.prepare import sources
from fsseg_bench.data.prepare.making import isic2018
from fsseg_bench.paths import folder as package_folder
from tests.data.prepare.making import given

TINY = "--backbone resnet18-layer2 --weights none --device cpu --workers 0 --panels 0 --iterations 0 --no-check"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """What a command says; fails with what it says where that is an error."""

    def run(command: str) -> str:
        try:
            main(command.split())
        except SystemExit as end:
            assert not end.code, capsys.readouterr()
        out, _ = capsys.readouterr()
        return out

    return run


def table_of(call: Callable[[str], str], dataset: object, root: Path, episodes: str = "") -> str:
    run = f"run --method baseline --shot 1 --dataset {dataset} --data-root {root} {TINY} {episodes}"
    run += f" --set protocol.image.size=32 --out {root / 'runs'}"
    return call(run) + call(f"report --results {root / 'runs'}")


def prepared(call: Callable[[str], str], name: str, tmp_path: Path, *more: str) -> str:
    where = f"--root {tmp_path / 'root'} --from {tmp_path / 'given'} --subset --yes"
    said = call(f"data prepare {name} {where} {' '.join(more)}")
    assert "no problem found" in call(f"data verify {name} --root {tmp_path / 'root'} {' '.join(more)}")
    return said


def test_isaid5i(call: Callable[[str], str], tmp_path: Path) -> None:
    """With two pairs of each class from the lists: all of them would be 24,439 tiles."""
    lists = package_folder("protocols") / "isaid5i"
    short: dict[str, list[str]] = {"train": [], "val": []}
    for part, name in (("train", "trn"), ("val", "val")):
        for number in range(3):
            taken: Counter[str] = Counter()
            kept = []
            for line in (lists / f"{name}_fold{number}.txt").read_text(encoding="utf-8").split():
                label = line[-2:]
                if taken[label] < 2:
                    kept.append(line)
                    taken[label] += 1
            file = tmp_path / "isaid5i" / f"{name}_fold{number}.txt"
            file.parent.mkdir(exist_ok=True)
            file.write_text("\n".join(kept) + "\n")
            short[part] += kept
    given.isaid5i(tmp_path / "given", short)
    protocol = tmp_path / "isaid5i.toml"
    protocol.write_bytes((package_folder("protocols") / "isaid5i.toml").read_bytes())
    text = Path(sources.__file__).with_name("sources.toml").read_text(encoding="utf-8")
    assert text.count('["isaid5i"]\n') == 2
    (tmp_path / "sources.toml").write_text(text.replace('protocols = ["isaid5i"]', f'protocols = ["{protocol}"]'))
    said = prepared(call, "isaid5i", tmp_path, "--sources", str(tmp_path / "sources.toml"))
    assert re.search(r"Helicopter +2 +10 +6\n", said)
    assert "tiles that no list names, left out: 2" in said
    table = table_of(call, protocol, tmp_path / "root")
    assert re.search(r"baseline.*(\d+\.\d.*){4}", table)


def test_isic2018(call: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = isic2018.images_of
    monkeypatch.setattr(isic2018, "images_of", lambda name: whole(name)[:3])
    given.isic2018(tmp_path / "given", most=3)
    said = prepared(call, "isic2018", tmp_path)
    assert re.search(r"seborrheic_keratosis +3 +208\n", said)
    table = table_of(call, "isic2018", tmp_path / "root", "--episodes 6 --set protocol.episodes.runs=2")
    assert re.search(r"baseline.*\d+\.\d", table)


@pytest.mark.parametrize(("name", "count"), [("chestx-704", 5), ("chestx-566", 3)])
def test_chestx(call: Callable[[str], str], tmp_path: Path, name: str, count: int) -> None:
    given.chestx(tmp_path / "given")
    said = prepared(call, name, tmp_path)
    assert re.search(rf"lung +{count} +{name[-3:]}\n", said)
    table = table_of(call, name, tmp_path / "root", "--episodes 4 --set protocol.episodes.runs=1")
    assert re.search(r"baseline.*\d+\.\d", table)


@pytest.mark.parametrize("merged", [False, True])
def test_suim(call: Callable[[str], str], tmp_path: Path, merged: bool) -> None:
    (given.suim_merged if merged else given.suim)(tmp_path / "given")
    said = prepared(call, "suim", tmp_path)
    pairs = sum(len(shown) for shown in given.SUIM_SHOWN.values())
    assert re.search(rf"all +{pairs} +3,859", said)
    table = table_of(call, "suim", tmp_path / "root", "--episodes 20")
    assert re.search(r"baseline.*\d+\.\d", table)


def test_pascal_part(call: Callable[[str], str], tmp_path: Path) -> None:
    given.pascal_part(tmp_path / "given", images=3)
    said = prepared(call, "pascal-part", tmp_path)
    assert "parts that the benchmark does not score, left out: 1 (aeroplane TAIL)" in said
    table = table_of(call, "pascal-part", tmp_path / "root", "--set protocol.episodes.count=31,4,5,16")
    assert re.search(r"baseline.*(\d+\.\d.*){5}", table)


def test_paco_part(call: Callable[[str], str], tmp_path: Path) -> None:
    given.paco(tmp_path / "given")
    said = prepared(call, "paco-part", tmp_path)
    assert "classes of the folds: 2, 2, 2, 2" in said
    protocol = tmp_path / "root" / "paco-part" / "protocol.toml"
    table = table_of(call, protocol, tmp_path / "root", "--episodes 8")
    assert re.search(r"baseline.*(\d+\.\d.*){5}", table)
