"""An option of one value that is given several times is refused; those that may be repeated are not."""

from __future__ import annotations

import pytest

from tests.cli.test_main import call

ONCE = "is given 2 times, and only the last would count; give it once"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("run --track wandb --dataset shapes5i --track=mlflow", f"--track {ONCE} with its values separated by commas"),
        ("run --fold 1 --fold 2", "(--fold A,B)"),
        ("run --seed 1 --seeds 2", "(--seeds A,B)"),
        ("run --shot 1 --shot 5", f"--shot {ONCE}\n"),
        ("sweep file.toml --jobs 1 --jobs 2", f"--jobs {ONCE}\n"),
        ("sweep status file.toml --out a --out b", f"--out {ONCE}\n"),
        ("data info shapes5i --root a --root b", f"--root {ONCE}\n"),
        ("report --format md --format html", f"--format {ONCE}\n"),
    ],
)
def test_a_second_value_is_not_dropped(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words.split()) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "run --method baseline --method biopt --dataset shapes5i --fold 1 --dry-run",
        "list methods -v -v",
        "list methods --methods-path a --nonsense",
    ],
)
def test_what_may_be_repeated_and_what_click_refuses_stay_so(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    call(*words.split())
    assert "only the last would count" not in capsys.readouterr().err
