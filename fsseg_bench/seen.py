"""What had been seen before a number was made, and what is fitted at test: the words of cards, records and tables.

docs/explanation/protocols.md defines each word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

UNKNOWN = "unknown"
NO = "no"
NONE = "none"
BY_LABELS, BY_UNNAMED_MASKS, BY_MASKS = "by labels", "by unnamed masks", "by masks"
TRUTH = "the query's true mask (an oracle, for diagnosis)"
OWN_QUERY, OTHER_IMAGES = "own query", "other images"

SUPERVISION = (NONE, "image labels", "masks", "text")
"""Of a pretraining, several joined by a comma."""
NOVEL_CLASSES = (NO, BY_LABELS, BY_UNNAMED_MASKS, BY_MASKS)
TRANSDUCTIVE = (NO, OWN_QUERY, OTHER_IMAGES)

OF_WEIGHTS = ("supervision", "pretraining_data", "novel_classes")
"""The fields that the backbone's weights decide."""
OF_METHOD = ("transductive", "test_time_training", "extra_data")
"""The fields that the method decides."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is not known is ``unknown``."""

    supervision: str = UNKNOWN
    """Of the pretraining: one or more of :data:`SUPERVISION`, joined by a comma."""
    pretraining_data: str = UNKNOWN
    """In words; ``none`` for random weights."""
    novel_classes: str = UNKNOWN
    """Whether labels or masks of the held-out classes were trained on: one of :data:`NOVEL_CLASSES`."""
    transductive: str = UNKNOWN
    """Which unlabelled pixels a prediction is fitted to: one of :data:`TRANSDUCTIVE`."""
    test_time_training: str = UNKNOWN
    """What gradient steps change at test, and how many; or ``none``."""
    extra_data: str = UNKNOWN
    """What is seen beside pretraining, the base classes' training images and the episode; or ``none``."""

    def of(self, names: Iterable[str]) -> dict[str, str]:
        """Some fields by name."""
        return {name: getattr(self, name) for name in names}


NOTHING_KNOWN = Seen()
FIELDS = tuple(field.name for field in fields(Seen))
RANDOM_WEIGHTS = {"supervision": NONE, "pretraining_data": NONE, "novel_classes": NO}
"""What weights that are random numbers have seen."""
_SWITCH = re.compile(r"\{(\w+)\}")
_KNOWN = {"supervision": SUPERVISION, "novel_classes": NOVEL_CLASSES, "transductive": TRANSDUCTIVE}


def wrong(name: str, text: str) -> str:
    """What a field may hold, where ``text`` is none of it; empty where it is."""
    known = _KNOWN.get(name)
    if text == UNKNOWN or (known is None and text):
        return ""
    if known is None:
        return "some words, none or unknown"
    parts = text.split(", ") if name == "supervision" else [text]
    if all(part in known for part in parts) and (len(parts) == 1 or NONE not in parts):
        return ""
    several = ", several joined by a comma" if name == "supervision" else ""
    return f"{', '.join(known)} or {UNKNOWN}{several}"


def card_lines(doc: str, names: Iterable[str]) -> dict[str, str]:
    """The fields that a module docstring states, a line each: ``Test-time training: none``."""
    titles = {name.replace("_", " "): name for name in names}
    found = {}
    for line in doc.splitlines()[1:]:
        key, _, value = line.partition(":")
        name = titles.get(key.strip().lower().replace("-", " "))
        if name and value.strip():
            found[name] = value.strip()
    return found


def under_protocol(text: str, protocol: str) -> str:
    """``by labels (pascal5i, coco20i-a)``: what holds under a protocol; unknown under one that is not named."""
    word, bracket, names = text.partition(" (")
    return word if not bracket or protocol in re.split(r",\s*", names.rstrip(")")) else UNKNOWN


def with_switches(seen: Seen, switches: Mapping[str, Any]) -> Seen:
    """With ``{steps}`` and the like in ``test_time_training`` replaced by the method's switches.

    Where one of them is 0 or false, nothing is trained at test, and nothing is fitted to the query.
    """
    text = seen.test_time_training
    named = _SWITCH.findall(text)
    if any(not switches.get(name, True) for name in named):
        own = NO if seen.transductive == OWN_QUERY else seen.transductive
        return replace(seen, test_time_training=NONE, transductive=own)
    for name in named:
        value = switches.get(name, "?")
        text = text.replace(f"{{{name}}}", str(value).lower() if isinstance(value, bool) else str(value))
    return replace(seen, test_time_training=text)


def with_truth(seen: Seen) -> Seen:
    """Of a method that reads the query's own labels."""
    kept = "" if seen.extra_data in {NONE, UNKNOWN} else f"{seen.extra_data}; "
    return replace(seen, extra_data=f"{kept}{TRUTH}")


def together(several: Iterable[Seen]) -> Seen:
    """Of numbers that share a row: what differs among them is joined by a slash."""
    given = list(dict.fromkeys(several))
    if len(given) == 1:
        return given[0]
    return Seen(**{name: " / ".join(dict.fromkeys(getattr(seen, name) for seen in given)) for name in FIELDS})


def read(values: Mapping[str, Any] | None) -> Seen:
    """As a record holds it; what it does not say is unknown."""
    given = values or {}
    return Seen(**{name: str(given[name]) for name in FIELDS if name in given})
