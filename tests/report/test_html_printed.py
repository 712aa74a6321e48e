from pathlib import Path

from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.find_papers import papers
from fsseg_bench.report.html.printed import Printed, printed_numbers
from fsseg_bench.report.html.runs import groups
from fsseg_bench.report.html.standing import contests
from tests.support.runs import write_run


def found(root: Path, folds: tuple[int, ...] = (1, 2, 3, 4), **changes: object) -> dict[int, list[Printed]]:
    digest = load_protocol("pascal5i").digest
    same = {"method": "biopt", "backbone": "resnet50", "protocol": "pascal5i", "protocol_digest": digest}
    for fold in folds:
        write_run(root, fold=fold, **{**same, **changes})  # type: ignore[arg-type]
    runs = find_runs(root)
    (contest,) = contests(groups(runs), runs, "mean", None)
    return printed_numbers(contest, "mean", papers())


def test_the_mean_of_the_same_method_backbone_and_shot_with_as_many_scales(tmp_path: Path):
    (number,) = found(tmp_path / "one")[0]
    assert number == Printed(56.04, "56.04", "BiOpt 56.04 (BiOpt paper, Table 5, one query scale)")
    (number,) = found(tmp_path / "several", scales=load_protocol("pascal5i").scoring.scales)[0]
    assert number == Printed(56.85, "56.85", "BiOpt 56.85 (BiOpt paper, Table 1, several query scales)")


def test_all_where_none_has_as_many_scales(tmp_path: Path):
    (number,) = found(tmp_path, method="pgnet")[0]
    assert number.words == "PGNet 56.00 (BiOpt paper, Table 1)"


def test_other_rules_folds_shots_and_methods_have_none(tmp_path: Path):
    assert found(tmp_path / "digest", protocol_digest="0" * 64) == {}
    assert found(tmp_path / "folds", folds=(1, 2)) == {}
    assert found(tmp_path / "shot", shot=3) == {}
    assert found(tmp_path / "method", method="mine") == {}
