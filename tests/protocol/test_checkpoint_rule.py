"""The section ``[checkpoint]``: a state is chosen by validation classes alone, and what enters the digest."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.protocol.load import load_protocol
from tests.support.protocol_text import TEXT, changed, refused, write

VALIDATED = changed("[folds]", 'validation = ["fox"]\n[folds]')


def rule(lines: str = "", text: str = VALIDATED) -> str:
    return changed('rule = "last"', f'rule = "validation"\n{lines}', text)


def test_every_value_enters_the_digest_and_defaults_do_not(tmp_path: Path) -> None:
    texts = [VALIDATED, rule(), rule("every = 7"), rule("episodes = 7"), rule("seed = 7")]
    protocols = [load_protocol(write(tmp_path, text)) for text in texts]
    assert len({protocol.digest for protocol in protocols}) == len(texts)
    assert protocols[1].settings()["checkpoint"] == {"rule": "validation"}
    assert protocols[2].settings()["checkpoint"] == {"rule": "validation", "every": 7}
    written = load_protocol(write(tmp_path, rule("every = 1000\nepisodes = 500\nseed = 0")))
    assert written.digest == protocols[1].digest


def test_it_cannot_be_a_choice_on_held_out_classes(tmp_path: Path) -> None:
    """Not by a class of a fold, nor by one of another protocol that has its name."""
    own = changed('validation = ["fox"]', 'validation = ["dog"]', VALIDATED)
    assert refused(tmp_path, rule(text=own)).startswith("class 'dog' is in fold 3 and in validation")
    theirs = changed('name = "own"', 'name = "theirs"', changed('"fox"]\n\n', '"D og"]\n\n', TEXT))
    write(tmp_path, changed("[folds]", 'validation = ["D og"]\n[folds]', theirs), "theirs.toml")
    untrained = changed('train_list = ["train"]', "train_list = []")
    text = rule(text=changed("[image]", '[train]\nprotocol = "theirs.toml"\n[image]', untrained))
    assert refused(tmp_path, text) == (
        'checkpoint.rule is "validation", and classes of the folds have the names of validation classes: dog; the '
        "choice would be made on what is scored"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (rule(text=TEXT), 'checkpoint.rule is "validation", and validation names no classes'),
        (
            rule(
                text=changed(
                    "[image]",
                    '[train]\nprotocol = "pascal5i"\n[image]',
                    changed('train_list = ["train"]', "train_list = []"),
                )
            ),
            'checkpoint.rule is "validation", and validation of pascal5i, which is trained on, names no classes',
        ),
        (
            changed('rule = "last"', 'rule = "last"\nevery = 7', VALIDATED),
            'checkpoint.every has no part with rule "last"; set rule = "validation", or leave it out',
        ),
        (rule("every = 0"), "checkpoint.every is 0; it must be at least 1"),
        (changed('rule = "last"', 'rule = "best"'), 'checkpoint.rule is "best"; allowed: "last", "validation"'),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert refused(tmp_path, text) == message
