"""An option of one value that is given several times is told of; those that may be repeated are not."""

from __future__ import annotations

import pytest

from tests.cli.test_main import call

TWICE = "is given 2 times, and the last one counts"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "run --track wandb --fold 1 --track=mlflow",
            f"--track {TWICE}; several are separated by commas (--track A,B)",
        ),
        ("run --fold 1 --fold 2", "(--fold A,B)"),
        ("run --seed 1 --seeds 2", "(--seeds A,B)"),
        ("run --shot 1 --shot 5", f"--shot {TWICE}\n"),
        ("sweep file.toml --jobs 1 --jobs 2", f"--jobs {TWICE}\n"),
        ("sweep status file.toml --out a --out b", f"--out {TWICE}\n"),
        ("data info shapes5i --root a --root b", f"--root {TWICE}\n"),
        ("report --format md --format html", f"--format {TWICE}\n"),
    ],
)
def test_a_second_value_is_not_dropped_in_silence(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words.split(), "--help") == 0
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "run --method baseline --method biopt --dataset shapes5i --help",
        "list methods -v -v",
        "list methods --methods-path a --nonsense",
    ],
)
def test_what_may_be_repeated_and_what_click_refuses_stay_so(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    call(*words.split())
    assert "the last one counts" not in capsys.readouterr().err
