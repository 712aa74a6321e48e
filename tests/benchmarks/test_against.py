"""The comparison with an earlier commit: its sums, and that all of it runs, at toy size."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import against
from benchmarks.against import ROOT, Scale, Tree, Turn


def test_ratios_and_differences(capsys: pytest.CaptureFixture[str]) -> None:
    against._print(
        {
            "old": [Turn(4.0, [0.5, 0.25]), Turn(3.0, [0.5, 0.25])],
            "here": [Turn(2.0, [0.5, 0.26]), Turn(1.0, [0.0, 0.0])],
        }
    )
    told = capsys.readouterr().out
    assert "2.33 times as fast (turn by turn 2.00 to 3.00, by minima 3.00)" in told
    assert "largest difference of a mean IoU: 1.000 points" in told


def test_checkouts_take_turns_and_the_first_is_not_counted(tmp_path: Path) -> None:
    seen: list[str] = []

    def measure(tree: Tree, out: Path, scale: Scale) -> Turn:
        assert out.is_dir()
        seen.append(tree.folder.name)
        return Turn(float(len(seen)), [])

    trees = {name: Tree(tmp_path / name, tmp_path) for name in ("a", "b")}
    turns = against.take_turns(trees, measure, Scale(), 2, tmp_path)
    assert seen == ["a", "b"] * 3
    assert [[turn.seconds for turn in taken] for taken in turns.values()] == [[3.0, 5.0], [4.0, 6.0]]
    assert list(tmp_path.iterdir()) == []


def test_a_commit_that_does_not_exist() -> None:
    done = CliRunner().invoke(against.main, ["0" * 40, "--toy"])
    assert done.exit_code == 1
    assert "git worktree add" in done.output


@pytest.mark.slow
def test_everything_runs_against_the_last_commit() -> None:
    if (before := _worktrees()) is None:
        pytest.skip("this is no checkout that git reads")
    only = ["encode-vgg16", "step", "demo"]  # the other encoder takes the same way
    options = ["HEAD", "--toy", "--repeats", "1", "--demos", "1", *(f"--only={task}" for task in only)]
    done = CliRunner().invoke(against.main, options, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert len(re.findall("times as fast", done.output)) == len(only)
    assert len(re.findall(r"of a feature: \d\.\de[+-]\d\d of the largest", done.output)) == 1
    assert _worktrees() == before


def _worktrees() -> set[str] | None:
    """Their folders; None where git does not tell."""
    listed = ["git", "-C", str(ROOT), "worktree", "list", "--porcelain"]
    done = subprocess.run(listed, capture_output=True, text=True, check=False)
    return {line for line in done.stdout.splitlines() if line.startswith("worktree ")} if done.returncode == 0 else None
