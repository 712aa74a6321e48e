"""What released files claim, beside what was measured: numbers by hand, and every reason not to compare."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import fsseg_bench
from fsseg_bench.cli.main import cli
from fsseg_bench.errors import UserError
from fsseg_bench.paths import folder
from fsseg_bench.protocol.claim import Claim
from fsseg_bench.protocol.load import load_protocol, replace_list
from fsseg_bench.registry import method_names, released_of
from fsseg_bench.report.claims.make import Claims, claims
from fsseg_bench.report.claims.printed import KINDS, Place, claimed
from fsseg_bench.report.find_papers import papers
from fsseg_bench.report.model import Cell
from fsseg_bench.seen import Seen, with_truth
from tests.support.fresh import python
from tests.support.paper import paper_run

NUMBERS = [number for paper in papers() for number in paper.numbers]
GIVEN = replace_list(load_protocol("pascal5i"))
REPLAYED = {
    "protocol_label": GIVEN.label,
    "protocol_digest": GIVEN.digest,
    "episode_digest": "1" * 64,
    "passed": {"episodes": "lists/theirs-{fold}.csv"},
}
BOTH: list[dict[str, Any]] = [
    {"protocol": "pascal5i", "shots": [1, 5], "ways": [1], "method": "", "source": ""},
    {"protocol": "coco20i-a", "shots": [1, 5], "ways": [1], "method": "", "source": ""},
]
SPREAD = [((c,), (900, 0, 100 - hits, hits)) for c in range(1, 6) for hits in (50, 60, 70)]
"""Three episodes of each class of fold 1: IoU 180 / 300."""


def evaluated(
    root: Path, hits: int = 60, *, rows: Any = BOTH, needed: Any = None, seen: Any = None, **changes: Any
) -> Path:
    """A run of a released SSP file whose every class has the IoU ``hits`` percent."""
    released = {
        "file": "best.pth",
        "digest": "ab" * 32,
        "what": "SSP (its network)",
        "lists": "unknown",
        "switches": needed or {},
        **({} if rows is None else {"rows": rows}),
    }
    own = {
        "method": "ssp",
        "backbone": "resnet50-deep",
        "recipe": {},
        "weights": "checkpoint",
        "checkpoint_digest": f"{changes.get('fold', 1)}" * 64,
        "extra": {"trained": {"file": "best.pth", "released": released}, **({"seen": seen} if seen else {})},
    }
    return paper_run(root, hits, **(own | changes))


def evaluated_all(root: Path, hits: int, **changes: Any) -> None:
    """All folds: ``hits``, ``hits`` + 1, ... percent."""
    for fold in range(1, 5):
        evaluated(root, hits + fold - 1, fold=fold, **changes)


def cells(made: Claims, task: str, fold: str) -> list[Cell]:
    """Claimed; measured and difference on the authors' episodes; the same under the protocol."""
    (row,) = (row for row in made.table.rows if (row[3].text, row[4].text) == (task, fold))
    return list(row[5:])


def texts(made: Claims, fold: str, task: str = "1-way 1-shot") -> list[str]:
    return [cell.text for cell in cells(made, task, fold)]


def test_numbers_by_hand_on_both_kinds_of_episodes(tmp_path: Path) -> None:
    """Published: 61.4 67.8 66.5 50.9, mean 61.7."""
    evaluated_all(tmp_path, 60)
    evaluated_all(tmp_path, 62, **REPLAYED)
    made = claims(tmp_path)
    assert texts(made, "fold 1") == ["61.4", "62.00", "+0.60", "60.00", "-1.40"]
    assert texts(made, "fold 2") == ["67.8", "63.00", "-4.80", "61.00", "-6.80"]
    assert texts(made, "fold 4") == ["50.9", "65.00", "+14.10", "63.00", "+12.10"]
    assert texts(made, "mean") == ["61.7", "63.50", "+1.80", "61.50", "-0.20"]
    assert len(made.table.rows) == 5
    method = made.table.rows[0][0]
    assert method.note.startswith("SSP (its network); authors' episodes: checkpoint best.pth abababab (released")
    assert "episodes theirs-{fold}.csv" in method.note
    assert cells(made, "1-way 1-shot", "fold 1")[0].source == "README of github.com/fanq15/SSP (official README)"


def test_what_was_seen_is_said_as_in_other_tables(tmp_path: Path) -> None:
    """PPNet with unlabelled images reads images that SSP does not."""
    evaluated(tmp_path, method="ppnet-ud", backbone="resnet50", switches={})
    evaluated(tmp_path)
    (ud, *_), (ssp, *_) = (row for row in claims(tmp_path).table.rows if row[4].text == "fold 1")
    assert (ud.text, ssp.text) == ("ppnet-ud", "ssp")
    assert any(mark.startswith("extra data: unlabelled images") for mark in ud.marks)
    assert not any("extra data" in mark for mark in ssp.marks)


def test_five_shots_and_binary_iou_have_claims_of_their_own(tmp_path: Path) -> None:
    """BAM's README has the mean of 5 shots (70.91) and no binary-IoU; binary-IoU is (60 + 100 * 900 / 940) / 2."""
    five = [{"protocol": "pascal5i", "shots": [5], "ways": [1], "method": "", "source": ""}]
    for fold in range(1, 5):
        evaluated(tmp_path, method="bam", shot=5, rows=five, fold=fold)
    mean = cells(claims(tmp_path), "1-way 5-shot", "mean")
    assert [cell.text for cell in mean] == ["70.91", "-", "-", "60.00", "-10.91"]
    one = cells(claims(tmp_path), "1-way 5-shot", "fold 1")
    assert one[0].text == "-"
    assert one[0].note == "no mean-IoU of this fold 1 is among the published numbers"
    binary = cells(claims(tmp_path, metric="binary"), "1-way 5-shot", "mean")
    assert [cell.text for cell in binary] == ["-", "-", "-", "77.87", "-"]


def test_a_difference_has_the_interval_of_the_measured_number(tmp_path: Path) -> None:
    evaluated(tmp_path, episodes=SPREAD)
    claim, _, _, measured, difference = cells(claims(tmp_path, interval="episodes"), "1-way 1-shot", "fold 1")
    assert measured.value == pytest.approx(60)
    assert measured.low is not None
    assert measured.high is not None
    assert difference.low == pytest.approx(measured.low - 61.4)
    assert difference.high == pytest.approx(measured.high - 61.4)
    assert measured.text.startswith("60.00 ± ")
    assert claim.value == 61.4


REASONS: dict[str, tuple[dict[str, Any], str]] = {
    "no row": ({"rows": []}, "no published row is claimed of such files"),
    "record of an earlier version": ({"rows": None}, "an earlier version read the file"),
    "other data": ({"protocol": "coco20i-b"}, "claim rows of pascal5i and coco20i-a: another data set or other folds"),
    "other shots": ({"shot": 2}, "such files claim 1-way 1-shot, 1-way 5-shot rows of pascal5i"),
    "other backbone": ({"backbone": "resnet18"}, "no mean-IoU of this fold 1 is among the published numbers"),
}


@pytest.mark.parametrize("case", REASONS)
def test_where_nothing_is_claimed_the_reason_stands_in_its_place(tmp_path: Path, case: str) -> None:
    changes, reason = REASONS[case]
    evaluated(tmp_path, **changes)
    claim, *_, measured, difference = claims(tmp_path).table.rows[0][5:]
    assert claim.text == difference.text == "-"
    assert reason in claim.note
    assert measured.text == "60.00"


def test_other_rules_and_other_switches_are_shown_and_not_compared(tmp_path: Path) -> None:
    changed = load_protocol("pascal5i", {"image.size": "257"})
    evaluated(tmp_path, 40, protocol_label=changed.label, protocol_digest=changed.digest)
    evaluated(tmp_path, 50, needed={"refine": True}, switches={"refine": False})
    evaluated(tmp_path, 55, protocol_digest="e" * 64)
    evaluated(tmp_path, 65, switches={"truth": "void"}, seen=vars(with_truth(Seen(extra_data="none"))))
    rows = {row[8].text: row[9] for row in claims(tmp_path).table.rows if row[4].text == "fold 1"}
    assert {text: cell.text for text, cell in rows.items()} == {"40.00": "-", "50.00": "-", "55.00": "-", "65.00": "-"}
    assert rows["40.00"].note == "not comparable: other rules than the protocol's: image.size=257"
    assert rows["50.00"].note == "not comparable: refine=false is set, and the released network has true"
    assert rows["65.00"].note == "not comparable: the query's true mask was read"
    assert rows["55.00"].note.startswith("not comparable: measured under version 1 of the protocol, or an edited one")


def test_the_authors_rules_belong_to_their_episodes(tmp_path: Path) -> None:
    """Other tools' episodes come with other image sizes: compared, and said."""
    changed = replace_list(load_protocol("pascal5i", {"image.size": "257"}))
    own = {"protocol_label": changed.label, "protocol_digest": changed.digest}
    evaluated(tmp_path, 60, **(REPLAYED | own))
    _, measured, difference, *_ = cells(claims(tmp_path), "1-way 1-shot", "fold 1")
    assert difference.text == "-1.40"
    assert measured.note.startswith("under pascal5i[image.size=257]")


def test_two_lists_are_two_rows_and_other_runs_none(tmp_path: Path) -> None:
    evaluated(tmp_path, 60)
    for i, name in enumerate(("a", "b")):
        changes = {"episode_digest": f"{i}" * 64, "passed": {"episodes": f"{name}-{{fold}}.csv"}}
        evaluated(tmp_path, 50 + i, **(REPLAYED | changes))
    paper_run(tmp_path, 70, method="panet")
    first = [row for row in claims(tmp_path).table.rows if row[4].text == "fold 1"]
    assert sorted((row[6].text, row[8].text) for row in first) == [("50.00", "60.00"), ("51.00", "60.00")]
    assert not any("panet" in row[0].text for row in claims(tmp_path).table.rows)


def test_without_such_records_the_message_says_how_to_make_one(tmp_path: Path) -> None:
    paper_run(tmp_path)
    with pytest.raises(UserError, match=r"no finished run evaluated a released checkpoint; make one with .*official:"):
        claims(tmp_path)
    evaluated(tmp_path, status="evaluating")
    with pytest.raises(UserError, match=r"\(1 are not finished\)"):
        claims(tmp_path)


READERS: dict[str, Callable[[str], bool]] = {
    "markdown": lambda text: (
        "61.4 (b) |" in text and "+0.60 |" in text and "- (b) README of github.com/fanq15/SSP" in text
    ),
    "latex": lambda text: r"61.4\textsuperscript{b} & 62.00\textsuperscript{c} & +0.60" in text,
    "csv": lambda text: any(
        line.startswith("claims-mean,mean,ssp,resnet50-deep,pascal5i,1-way 1-shot,fold 1,difference,authors' episodes,")
        for line in text.splitlines()
    ),
    "json": lambda text: json.loads(text)["tables"][0]["rows"][0][7]["text"] == "+0.60",
}


@pytest.mark.parametrize("form", READERS)
def test_every_format_of_the_command(tmp_path: Path, form: str) -> None:
    evaluated(tmp_path, 62, **REPLAYED)
    command = ["claims", "--results", str(tmp_path), "--method", "ssp", "--shot", "1", "--format", form]
    result = CliRunner().invoke(cli, command, obj={"debug": False})
    assert result.exit_code == 0, result.output
    assert READERS[form](result.stdout), result.stdout
    out = tmp_path / f"claims{ {'markdown': '.md', 'latex': '.tex'}.get(form, f'.{form}') }"
    fsseg_bench.claims(tmp_path).save(out)
    assert out.read_text() == result.stdout


def test_the_table_is_made_without_torch(tmp_path: Path) -> None:
    evaluated(tmp_path)
    code = "import sys, fsseg_bench\nprint(len(fsseg_bench.claims().table.rows), 'torch' in sys.modules)"
    assert python(code, FSSEG_RESULTS=str(tmp_path)).split() == ["2", "False"]


def test_kinds_of_sources_are_ranked_as_the_readme_does() -> None:
    text = (folder("results/published") / "README.md").read_text().partition("## Kinds of sources")[2]
    assert tuple(re.findall(r"^\| `([^`]+)` \|", text.partition("##")[0], re.MULTILINE)[1:]) == KINDS


def test_the_surest_source_goes_first_and_others_are_named() -> None:
    """PFENet, ResNet-50, 5 shots: 61.9; 1 shot: 60.8 in two issues and an image. HSNet: README before image."""
    hsnet = claimed([Claim(protocol="pascal5i", shots=(1,))], "hsnet", "resnet50", PLACE, NUMBERS)
    assert hsnet.number is not None
    assert hsnet.number.source == "README of github.com/chunbolang/BAM"
    star = claimed([Claim(protocol="pascal5i", shots=(1,), method="PPNet +PAP")], "ppnet", "resnet50", PLACE, NUMBERS)
    assert star.number is not None
    assert star.number.text == "50.40"
    vgg = claimed(
        [Claim(protocol="coco20i-b", shots=(1,))], "pfenet", "vgg16-bn", PLACE._replace(protocol="coco20i-b"), NUMBERS
    )
    assert vgg.number is not None
    assert vgg.number.text == "36.30"


PLACE = Place("pascal5i", 1, 1, "mean", "mean")


def test_every_claim_of_a_table_of_files_is_among_the_published_numbers() -> None:
    kinds = [(name, kind) for name in method_names() for kind in released_of(name)]
    for name, kind in kinds:
        assert bool(kind.rows) == (kind.claims != "none"), kind.what
        for claim in kind.rows:
            places = [Place(claim.protocol, way, shot, "mean", "mean") for way in claim.ways for shot in claim.shots]
            found = [claimed([claim], name, trunk, place, NUMBERS) for trunk in kind.backbones for place in places]
            assert any(one.number for one in found), (kind.what, claim)


def test_what_the_readmes_claim_is_what_is_found() -> None:
    """The numbers in the words of the tables of files, which were typed from the READMEs."""
    typed = {
        "PANet* (FewShotSeg of Xiangyi1996/PPNet-PyTorch)": "49.10",
        "PPNet, parts alone (FewShotSegPartResnet)": "50.40",
        "PPNet, parts and semantic branch (FewShotSegPartResnetSem)": "51.50",
        "PPNet with the graph over unlabelled images (SemiFewShotSegPartGraph)": "52.84",
        "BAM on vgg16-bn, one shot": "64.41",
        "BAM on resnet50-deep, one shot": "67.81",
        "RPMMs (OneModel of FRPMMs)": "56.34",
        "RePRI's PSPNet on a deep-stem ResNet": "59.1",
    }
    kinds = {kind.what: (name, kind) for name in method_names() for kind in released_of(name)}
    for what, text in typed.items():
        name, kind = kinds[what]
        found = claimed(kind.rows, name, kind.backbones[0], PLACE, NUMBERS)
        assert found.number is not None, what
        assert found.number.text == text, what
