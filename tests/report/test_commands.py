import shlex
from pathlib import Path

from click.testing import CliRunner

from fsseg_bench.cli.options import parse_numbers
from fsseg_bench.cli.run import run
from fsseg_bench.report.blocks import Measured
from fsseg_bench.report.collect import Collection, find_runs
from fsseg_bench.report.commands import Installation, paper_commands, runs_commands
from tests.support.paper import NOTHING, TABLES, paper_run, paper_runs
from tests.support.runs import write_run

HERE = Installation(("baseline", "biopt", "inopt-dagger", "panet"), ("vgg16", "resnet50", "resnet101"))


def commands(*numbers: str, found: Collection = NOTHING, here: Installation = HERE) -> list[str]:
    return paper_commands([TABLES[n] for n in numbers], Measured(found), here)


def test_the_ablation_as_the_paper_ran_it() -> None:
    assert commands("4") == [
        "fsseg-bench run --method baseline --dataset pascal5i --shot 1 --backbone resnet50 --fold all",
        "fsseg-bench run --method inopt-dagger --dataset pascal5i --shot 1 --backbone resnet50 --fold all",
        "fsseg-bench run --method biopt --dataset pascal5i --shot 1 --backbone resnet50 --scales 0.7,1,1.3 --fold all",
    ]


def test_table_5_needs_both_kinds_of_scales() -> None:
    lines = commands("5")
    assert len(lines) == 8
    assert sum("--scales 0.7,1,1.3" in line for line in lines) == 4


def test_runs_that_serve_several_tables_are_named_once() -> None:
    """Table 3 is the binary-IoU of the runs of Tables 1 and 2."""
    assert [line for line in commands("3") if not line.startswith("#")] == [
        line for line in commands("1", "2", "3") if line in commands("3")
    ]
    assert set(commands("3")[:-1]) <= set(commands("1", "2"))


def test_what_cannot_be_run_here_is_a_comment() -> None:
    *lines, comment = commands("1")
    assert not [line for line in lines if "fwb" in line]
    assert comment.startswith("# no method or backbone here for: OSLSM (VGG-16), co-FCN (VGG-16)")
    assert "PANet" not in comment
    later = paper_commands([TABLES["later:mean"], TABLES["generalised:base"]], Measured(NOTHING), HERE)
    assert "FPTrans (ViT-B/16-384)" in later[-1]


def test_only_missing_folds_with_the_settings_of_those_that_exist(tmp_path: Path) -> None:
    common = {"method": "panet", "backbone": "vgg16"}
    passed = {
        "method": "panet", "dataset": "pascal5i", "backbone": "vgg16", "weights": "/w/my file.pth",
        "settings": {"recipe.lr": "0.1"}, "iterations": 9, "device": "cpu", "out": "/elsewhere", "fold": 2,
    }  # fmt: skip
    for fold in (1, 3):
        paper_run(tmp_path, fold=fold, **common, passed=passed)
    paper_runs(tmp_path, **common, shot=5)
    lines = [line for line in commands("1", found=find_runs(tmp_path)) if "panet" in line]
    assert lines == [
        "fsseg-bench run --method panet --dataset pascal5i --shot 1 --backbone vgg16 --weights '/w/my file.pth' "
        "--iterations 9 --fold 2,4 --set recipe.lr=0.1"
    ]


def test_runs_of_one_s_own_protocol(tmp_path: Path) -> None:
    passed = {"dataset": "my/own.toml", "seed": 2, "scales": [0.5, 1.0], "data_root": "/d", "shot": 1}
    write_run(tmp_path, fold=4, way=1, seed=2, passed=passed)
    here = Installation(HERE.methods, HERE.backbones, out="my runs")
    assert runs_commands(find_runs(tmp_path), here) == [
        "fsseg-bench run --method baseline --dataset my/own.toml --shot 1 --backbone resnet18 --data-root /d --seed 2 "
        "--scales 0.5,1 --fold 1,2,3 --out 'my runs'"
    ]


def test_a_checkpoint_belongs_to_its_fold(tmp_path: Path) -> None:
    write_run(tmp_path, fold=4, passed={"dataset": "toy", "eval_only": "x.pt"})
    (line,) = runs_commands(find_runs(tmp_path), HERE)
    assert line.startswith("# fold 1,2,3 of baseline: --eval-only")


def test_names_from_records_start_no_line_of_their_own(tmp_path: Path) -> None:
    for name, passed in (("a\nrm x", {"eval_only": "x.pt"}), ("b;\nrm x", {})):
        write_run(tmp_path, method=name, passed=passed)
    for line in runs_commands(find_runs(tmp_path), HERE):
        assert "\n" not in line
        assert line.startswith("# ")


def test_no_control_character_reaches_the_terminal(tmp_path: Path) -> None:
    write_run(tmp_path, passed={"dataset": "toy", "settings": {"x": "\x1b]0;title\x07"}})
    (line,) = runs_commands(find_runs(tmp_path), HERE)
    assert line.isprintable()
    assert line.startswith("# the options of this run hold control characters")


def test_every_line_is_understood_by_the_command(monkeypatch) -> None:
    """The run command parses each line; nothing is run."""
    seen = []
    monkeypatch.setattr(run, "callback", lambda **options: seen.append(options))
    lines = [line for line in commands("1", "2", "3", "4", "5") if not line.startswith("#")]
    for line in lines:
        result = CliRunner().invoke(run, shlex.split(line)[2:])
        assert result.exit_code == 0, result.output
    assert len(seen) == len(lines) > 20
    assert {options["scales"] for options in seen} == {(1.0,), parse_numbers(None, run.params[0], "0.7,1,1.3")}


def test_lists_of_episodes_for_the_folds_that_lack(tmp_path: Path) -> None:
    """The printed command names the list of each fold, not that of a fold which is there."""
    for fold, given in ((1, "/lists/fold0 5shot.csv"), (2, "/lists/fold1 5shot.csv")):
        write_run(tmp_path, fold=fold, passed={"dataset": "pascal5i", "episodes": given})
    write_run(tmp_path, method="panet", fold=4, passed={"dataset": "pascal5i", "episodes": "theirs.csv"})
    command, comment = runs_commands(find_runs(tmp_path), HERE)
    words = shlex.split(command)
    assert words[words.index("--episodes") + 1] == "/lists/fold{fold-1} 5shot.csv"
    assert words[words.index("--fold") + 1] == "3,4"
    assert comment == "# fold 1,2,3 of panet: --episodes needs a list of each fold, as theirs.csv"
