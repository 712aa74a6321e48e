"""``fsseg-bench data``: what it says, what it returns, and a run on what it has prepared."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from fsseg_bench.cli.data import init
from fsseg_bench.cli.main import main
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.errors import UserError
from fsseg_bench.records.request import RunRequest
from tests.data.prepare.layouts import Small, small_coco, small_pascal, tree
from tests.data.prepare.server import Server, serving
from tests.support.datasets import (
    CLASSES,
    HEIGHT,
    WIDTH,
    save_image,
    scenes,
    write_class_folders,
    write_coco,
    write_voc,
)
from tests.support.fresh import python


@pytest.fixture(scope="module")
def pascal(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small_pascal(tmp_path_factory.mktemp("pascal"))


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small_coco(tmp_path_factory.mktemp("coco"), 2017)


@pytest.fixture
def server(pascal: Small, coco: Small, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(Server({**pascal.archives, **coco.archives})) as running:
        yield running


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in ("data", *arguments)])
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_prepare_info_verify(pascal: Small, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--root", tmp_path / "root", "--sources", pascal.sources)
    code, out, err = call(capsys, "prepare", "pascal5i", *common, "--mirror", server.url, "--yes")
    assert code == 0, err
    size = sum(map(len, pascal.archives.values())) / 1e6
    first, *plan = err.splitlines()
    assert first == f"pascal5i in {tmp_path / 'root'}"
    assert plan[0].startswith("  PASCAL VOC 2012 trainval (images from Flickr, under the terms of Flickr")
    assert "download VOCtrainval_11-May-2012.tar, 0.3 MB" in plan[0]
    assert plan[2].startswith(f"to download: {size:.1f} MB; room needed: 2.1 MB, free: ")
    fingerprint = re.search(r"pascal5i is ready: trainaug 80, val 40 images; fingerprint ([0-9a-f]{64})\n", out)
    assert fingerprint
    assert f"fsseg-bench run --method baseline --dataset pascal5i --data-root {tmp_path / 'root'}" in out

    code, out, _ = call(capsys, "info", "pascal5i", *common)
    assert code == 0
    assert f"pascal5i: {(tmp_path / 'root').resolve()}/VOCdevkit/VOC2012\n" in out
    assert "SBD masks (Hariharan et al. 2011): benchmark.tgz md5:" in out
    assert f"fingerprint: {fingerprint[1]}" in out
    assert re.search(r"\n +4 +boat +1 +4 +2\n", out)
    assert re.search(r"\n +20 +tvmonitor +4 +4 +2\n", out)

    code, out, _ = call(capsys, "verify", "pascal5i", *common)
    assert code == 0
    assert out.splitlines()[-1] == "pascal5i: no problem found"
    code, out, _ = call(capsys, "verify", "pascal5i", *common, "--fast")
    assert out.splitlines()[-1] == "pascal5i: no problem found (images and masks were not read)"

    image = tmp_path / "root/VOCdevkit/VOC2012/JPEGImages/2008_000003.jpg"
    image.unlink()
    code, out, _ = call(capsys, "verify", "pascal5i", *common, "--fast")
    assert code == 1
    assert f"PROBLEM {image}: no such image" in out
    assert out.splitlines()[-1] == "pascal5i: 2 problems"


def test_environment(
    pascal: Small, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSSEG_DATA", str(tmp_path))
    monkeypatch.setenv("FSSEG_SOURCES", str(pascal.sources))
    monkeypatch.setenv("FSSEG_MIRROR", f"http://127.0.0.1:9/none {server.url}")
    code, out, err = call(capsys, "prepare", "pascal5i", "--yes", "--keep-archives")
    assert code == 0, err
    assert "run --method baseline --dataset pascal5i\n" in out
    assert len(list((tmp_path / ".prepared/downloads").iterdir())) == 2
    assert call(capsys, "info", "pascal5i")[0] == 0


def test_coco_of_2017(coco: Small, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--root", tmp_path, "--sources", coco.sources, "--year", 2017)
    code, out, err = call(capsys, "prepare", "coco20i", *common, "--mirror", server.url, "--yes")
    assert code == 0, err
    assert "--dataset coco20i-a --set protocol.data.year=2017" in out
    code, out, _ = call(capsys, "info", "coco20i-b", *common)
    assert "coco20i-b[data.year=2017]: " in out
    assert re.search(r"\n +5 +airplane +1 +2 +2\n", out)
    assert call(capsys, "verify", "coco20i-b", *common)[0] == 0


def test_nothing_is_downloaded_without_a_yes(
    pascal: Small, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("prepare", "pascal5i", "--root", tmp_path, "--sources", pascal.sources, "--mirror", server.url)
    code, _, err = call(capsys, *arguments)
    assert code == 2
    assert "add --yes" in err

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    code, _, err = call(capsys, *arguments)
    assert code == 130
    assert "go on? [y/N]" in err
    assert server.requests == []
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert call(capsys, *arguments)[0] == 0
    assert call(capsys, *arguments)[0] == 0  # nothing to download, nothing to ask


def test_mistakes(pascal: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (("prepare", "pascal5i"), "name the folder of the data sets with --root or FSSEG_DATA"),
        (("prepare", "pascal", "--root", tmp_path), "unknown data set 'pascal'. Did you mean 'pascal5i' or "),
        (("prepare", "coco20i", "--root", tmp_path, "--year", 2015), "--year 2015: coco20i has the years 2014, 2017"),
        (("prepare", "pascal5i", "--root", tmp_path, "--subset"), "--subset: name the folder"),
        (("prepare", "pascal5i", "--root", tmp_path, "--from", tmp_path / "no"), "no: no such file or folder"),
        (("verify", "pascal5i", "--root", tmp_path), "the data of pascal5i were not found"),
        (("info", "pascal5i", "--root", tmp_path, "--sources", tmp_path / "x.toml"), "x.toml: cannot be read"),
    ):
        code, out, err = call(capsys, *arguments)
        assert code == 2
        assert message in err
        assert not out
        assert "Traceback" not in err


def test_many_problems_are_cut(
    pascal: Small, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("--root", tmp_path, "--sources", pascal.sources)
    call(capsys, "prepare", "pascal5i", *common, "--mirror", server.url, "--yes")
    for path in (tmp_path / "VOCdevkit/VOC2012/JPEGImages").iterdir():
        path.unlink()
    code, out, _ = call(capsys, "verify", "pascal5i", *common, "--fast")
    assert code == 1
    assert out.count("PROBLEM") == 100
    assert "and 140 problems more" in out
    assert "pascal5i: 240 problems" in out


def test_preparing_needs_no_torch() -> None:
    code = (
        "import sys\nimport fsseg_bench.cli.data, fsseg_bench.data.prepare.prepare, fsseg_bench.data.prepare.verify\n"
    )
    assert python(code + "print('torch' in sys.modules)").strip() == "False"


@pytest.mark.slow
def test_a_run_on_what_was_prepared(pascal: Small, server: Server, tmp_path: Path) -> None:
    """Processes of their own, as a user gives the commands: prepare over the network, then train and evaluate."""
    code = "import sys; from fsseg_bench.cli.main import main; main(sys.argv[1:] or ARGUMENTS.split())"
    root = tmp_path / "root"
    prepare = f"data prepare pascal5i --root {root} --sources {pascal.sources} --mirror {server.url} --yes"
    environment = {"FSSEG_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    python(code.replace("ARGUMENTS", repr(prepare)), **environment)
    files = tree(root)
    run = f"run --method baseline --backbone resnet18-layer2 --weights none --dataset pascal5i --data-root {root}"
    run += f" --iterations 2 --episodes 20 --workers 0 --device cpu --panels 0 --out {tmp_path / 'runs'}"
    run += " --set protocol.image.size=64 --set recipe.batch=2"
    table = python(code.replace("ARGUMENTS", repr(run)), **environment)
    assert re.search(r"baseline.*\d+\.\d", table)
    assert table.count("record: ") == 4
    assert tree(root) == files


@pytest.mark.slow
@pytest.mark.real_data
def test_runs_on_real_images_that_were_given(test_data: Path, tmp_path: Path) -> None:
    code = "from fsseg_bench.cli.main import main; main(ARGUMENTS.split())"
    environment = {"FSSEG_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    common = "--method baseline --backbone resnet18-layer2 --weights none --iterations 0 --episodes 80 --workers 0"
    common += f" --device cpu --panels 0 --fold 1 --out {tmp_path / 'runs'} --set protocol.image.size=65"
    own = Path(__file__).parents[1] / "fixtures/voc12-mini.toml"
    for prepare, run in (
        ("pascal5i --from {data}/voc12-mini", f"--dataset {own} --data-root {{root}}/VOCdevkit/VOC2012"),
        (
            "coco20i --year 2017 --from {data}/coco-mini",
            "--dataset coco20i-a --set protocol.data.year=2017 --data-root {root}",
        ),
    ):
        for text in (f"data prepare {prepare} --root {{root}} --subset", f"run {run} {common}"):
            arguments = text.format(data=test_data / "data", root=tmp_path / "root")
            out = python(code.replace("ARGUMENTS", repr(arguments)), **environment)
        assert "record: " in out


def run_init(*arguments: str) -> str:
    return CliRunner().invoke(init, arguments, catch_exceptions=False, standalone_mode=False).output


def bare_voc(root: Path) -> Path:
    shutil.rmtree(write_voc(root) / "ImageSets")
    return root


@pytest.mark.parametrize("write", [write_class_folders, write_voc, bare_voc, write_coco])
def test_run_works_on_the_result_as_it_is(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    root = write(tmp_path / "mine")
    output = run_init(str(root))
    assert f"wrote {root}/protocol.toml; tried out: 1000 test episodes in each fold" in output
    assert f"--dataset {root}/protocol.toml --shot 1" in output
    for fold in (1, 2, 3, 4):
        assert re.search(rf"warning: fold {fold}: only \d+ of 1,000 episodes are different", output)
        assert f"warning: fold {fold}: under 30 test images of a class (" in output
    request = RunRequest(
        "baseline",
        str(root / "protocol.toml"),
        fold=2,
        backbone="resnet18-layer2",
        weights="none",
        iterations=1,
        settings={"recipe.batch": "1"},
        episodes="20",
        workers=0,
        panels=0,
        device="cpu",
        out=str(tmp_path / "runs"),
    )
    with execute(make_plan(request)) as record:
        assert record.status == "done"
        assert 0 <= record.info.scores["native"]["mean_iou"] <= 1


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "mine", 2)
    run_init(str(root), "--name", "first")
    with pytest.raises(UserError, match=r"protocol\.toml: is there already; --force"):
        run_init(str(root), "--name", "second")
    assert 'name = "first"' in (root / "protocol.toml").read_text()
    run_init(str(root), "--name", "second", "--force")
    assert 'name = "second"' in (root / "protocol.toml").read_text()


def test_a_list_of_the_users_is_not_overwritten(tmp_path: Path) -> None:
    root = bare_voc(tmp_path / "mine")
    (root / "all.txt").write_text("mine\n")
    with pytest.raises(UserError, match=r"all\.txt: is there already, and this name is needed"):
        run_init(str(root))
    assert (root / "all.txt").read_text() == "mine\n"
    assert not (root / "protocol.toml").exists()


def test_a_proposal_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = bare_voc(tmp_path / "mine")
    before = tree(root)

    def fails(path: Path) -> None:
        assert path.is_file()
        raise UserError("no episodes")

    with monkeypatch.context() as context:
        context.setattr("fsseg_bench.cli.data._tried_out", fails)
        with pytest.raises(UserError, match="no episodes"):
            run_init(str(root))
        assert tree(root) == before
        (root / "protocol.toml").write_text("mine")
        with pytest.raises(UserError, match="no episodes"):
            run_init(str(root), "--force")
        assert (root / "protocol.toml").read_text() == "mine"
    assert "wrote" in run_init(str(root), "--force")


def test_a_folder_that_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = bare_voc(tmp_path / "mine"), tmp_path / "new/my rules.toml"
    before = tree(root)
    assert f"--dataset '{out}' --shot 1" in run_init(str(root), "--out", str(out))
    assert tree(root) == before
    assert f'root = "{root}"' in out.read_text()
    code, said, _ = call(capsys, "info", out)
    assert code == 0
    assert str(root) in said
    with pytest.raises(UserError, match=r"ends in \.toml"):
        run_init(str(root), "--out", str(tmp_path / "rules.txt"))


def test_verify_and_info_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_class_folders(tmp_path / "mine", 3)
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, "verify", "mine")
    assert code == 2
    assert "mine: has no protocol.toml; to write one: fsseg-bench data init mine" in err
    run_init(str(root))
    for name in ("mine", "mine/protocol.toml", str(root)):
        code, out, _ = call(capsys, "verify", name)
        assert code == 0
        assert "protocol.toml: no problem found" in out
        code, out, _ = call(capsys, "info", name)
        assert code == 0
        assert re.search(r"\n +4 +drum +\d +3 +3\n", out)
    (root / "drum/images/001.jpg").unlink()
    (root / "drum/images/001.jpg").symlink_to("/nowhere.jpg")
    code, out, _ = call(capsys, "verify", "mine")
    assert code == 1
    assert re.search(r"PROBLEM .*/drum/images/001\.jpg: ", out)
    code, _, err = call(capsys, "info", "mine")
    assert code == 2
    assert "drum/images/001.jpg is a link to /nowhere.jpg, which is not there" in err


def test_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = tmp_path / "mine", tmp_path / "my coco"
    for scene in scenes("train", 2):
        save_image(root / f"{scene.name}.jpg", scene.image)
        shapes = [
            {"label": CLASSES[b.class_id - 1], "points": [[b.x0, b.y0], [b.x1, b.y0], [b.x1, b.y1], [b.x0, b.y1]]}
            for b in scene.boxes
        ]
        table = {"shapes": shapes, "imagePath": f"{scene.name}.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH}
        (root / f"{scene.name}.json").write_text(json.dumps(table))
    before = tree(root)
    code, said, _ = call(capsys, "convert", root, "--out", out)
    assert code == 0
    assert said.splitlines()[-2:] == [
        f"wrote {out}/annotations/instances_all.json",
        f"next: fsseg-bench data init '{out}'",
    ]
    assert tree(root) == before
    assert "COCO's instance annotations: 8 classes" in run_init(str(out))
    assert call(capsys, "verify", out)[0] == 0
    assert call(capsys, "convert", root)[0] == 0
    code, _, err = call(capsys, "convert", root)
    assert code == 2
    assert "instances_all.json: is there already; --force replaces it" in err
    assert call(capsys, "convert", root, "--force")[0] == 0
    assert "wrote" in run_init(str(root))


def test_a_mistake_writes_nothing(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "mine", 2)
    (root / "drum/masks/001.png").unlink()
    with pytest.raises(UserError, match="masks are missing"):
        run_init(str(root))
    assert not (root / "protocol.toml").exists()
