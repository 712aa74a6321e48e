"""Writes down a proposed protocol, every choice explained in a comment."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fsseg_bench.data.own.folds import LEAST_IMAGES, USUAL, Folds, propose_folds
from fsseg_bench.data.own.layouts import look
from fsseg_bench.data.own.pictures import orientation_words
from fsseg_bench.data.own.survey import MOST_DECODED, Survey
from fsseg_bench.errors import UserError

PROTOCOL_FILE = "protocol.toml"
_LARGEST_SIDE = 417
_SMALLEST_SIDE = 65
_STRIDE = 8
_LARGEST_LEAST = 2048
_FIVE_SHOT = 6
_WIDTH = 116


@dataclass(frozen=True)
class Proposal:
    """What ``fsseg-bench data init`` writes and says."""

    files: Mapping[str, str]
    """Name to text; ``protocol.toml`` and the list files that it names."""
    summary: str
    """What was found and what is proposed, for people."""


def propose(root: Path, name: str | None = None, folds: int | None = None, *, beside: bool = True) -> Proposal:
    """A protocol for the data in ``root``, to be written into that folder (``beside``) or into another.

    Without ``name`` it has the folder's; without ``folds`` it has four, or fewer where there are fewer classes, which
    the summary says.

    Raises:
        UserError: the folder cannot be used as it is; says what is missing, where, and what to do.
    """
    survey = look(root)
    least = min(_LARGEST_LEAST, max(1, survey.area // 100))
    dealt = propose_folds(survey, least, folds)
    place = "." if beside else str(root.resolve())
    text = _protocol(survey, dealt, least, _name(root) if name is None else _checked_name(name), place)
    return Proposal(
        {PROTOCOL_FILE: text, **survey.list_files}, _summary(survey, dealt, least, chosen=folds is not None)
    )


def _name(root: Path) -> str:
    """The folder's name with the characters that a protocol's name may have."""
    return re.sub(r"[^\w.-]", "-", root.resolve().name).lstrip(".") or "own"


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[\w-][\w.-]*", name):
        raise UserError(f"--name {name}: use letters, digits, '-', '_', '.' (it names a folder)")
    return name


def _protocol(survey: Survey, folds: Folds, least: int, name: str, place: str) -> str:
    size = min(_LARGEST_SIDE, max(_SMALLEST_SIDE, survey.side // _STRIDE * _STRIDE + 1))
    images = len(survey.train.keys() | survey.test.keys())
    return "\n".join(
        [
            _comment(f"Proposed by `fsseg-bench data init`. Found: {survey.layout.found}; {images} images."),
            _comment(
                "Every choice that moves a number is a key of this file; change what you like, and raise version when "
                "you do, so that older results stay apart. docs/reference/protocol-keys.md explains each key."
            ),
            "",
            f"name = {_toml(name)}",
            "version = 1",
            f"description = {_toml(f'{images} own images of {len(survey.classes)} classes')}",
            "",
            _comment(survey.layout.classes),
            f"classes = {_toml_list(survey.classes)}",
            "",
            *_folds_section(survey, folds, least),
            "",
            *_data_section(survey, least, place),
            "",
            "[image]",
            _comment(
                f"Side of the square that every image is resized to, in pixels. {size} is 8 n + 1, which fits the "
                f"backbones' stride of 8; the papers' usual size is {_LARGEST_SIDE}, smaller where images are smaller."
            ),
            f"size = {size}",
            'resize = "squash"           # to the square, without keeping the aspect ratio',
            'decoder = "pillow"          # the library that decodes and resizes',
            _comment(orientation_words(survey.upright)),
            f"orientation = {_toml('upright' if survey.upright else 'stored')}",
            "",
            "[episodes]",
            "count = 1000                # test episodes a fold; in the end only more images narrow intervals",
            "seed = 1385                 # of the episode table; another seed draws other episodes",
            'class_sampling = "uniform"  # each episode draws its classes with equal chances',
            "support_replacement = false # all images of an episode are different",
            "",
            "[scoring]",
            'void = "ignore"             # pixels labelled 255 count nowhere',
            'headline = "input"          # scores at the size above; those at native size are recorded too',
            "scales = [0.7, 1.0, 1.3]    # query scales of the multi-scale variant (run --scales)",
            "",
            "[checkpoint]",
            'rule = "last"               # the last training state is tested, never the best one',
            "",
        ]
    )


def _folds_section(survey: Survey, folds: Folds, least: int) -> list[str]:
    lines = [
        _comment(
            "Each fold holds out its classes: a method is trained on the classes of the other folds and tested on "
            "these. Proposed: classes sorted by their number of test images, most first, dealt to the folds in turn, "
            "there and back, so that folds have about equally many classes and images. Classes that look alike belong "
            "in one fold: otherwise a held-out class is half known from training. There may be any number of folds, "
            "numbered from 1 without gaps; with one, methods are tested but cannot be trained."
        )
    ]
    if folds.left_out:
        counts = ", ".join(
            f"{survey.classes[c - 1]} ({min(folds.train_images[c], folds.test_images[c])})" for c in folds.left_out
        )
        lines.append(
            _comment(
                f"In no fold, hence background, because fewer than {LEAST_IMAGES} images show at least {least} pixels "
                f"of them: {counts}."
            )
        )
    lines.append("[folds]")
    for fold, classes in folds.folds.items():
        lines.append(f"{fold} = {_toml_list([survey.classes[c - 1] for c in classes])}")
    return lines


def _data_section(survey: Survey, least: int, place: str) -> list[str]:
    lines = [
        "[data]",
        f"{f'source = {_toml(survey.layout.source)}':27} # how the files lie; voc, coco and folder are known",
        f"{f'root = {_toml(place)}':27} # the folder of {'this file' if place == '.' else 'the data'}",
    ]
    for key, (value, words) in survey.keys.items():
        text = _toml_list(value) if isinstance(value, tuple) else _toml(value) if isinstance(value, str) else value
        lines.append(f"{f'{key} = {text}':27} # {words}")
    lines.append(
        _comment(
            f"{survey.layout.lists}; or files (.txt) beside this one, with an image a line (docs/howto/episodes.md). "
            "Training draws from the first, test episodes from the second."
        )
    )
    if survey.unused_lists:
        lines.append(_comment(f"Not used, but there: {', '.join(survey.unused_lists)}."))
    lines += [f"train_list = {_toml_list(survey.train_list)}", f"test_list = {_toml_list(survey.test_list)}"]
    if survey.shared:
        lines += ["train_excludes_test = false # the lists are the same; see novel_in_train"]
    else:
        lines += ["train_excludes_test = true  # an image of the test lists is never trained on"]
    lines.append(
        _comment(
            f"An image counts for a class only with so many native pixels of it. {least} is 1 % of the median image, "
            f"at most {_LARGEST_LEAST} as for PASCAL-5i. Smaller objects stay labelled, but are no class of an episode."
        )
    )
    novel = (
        "What pixels of held-out classes are in training images: background, as in most papers; ignore makes them "
        "void; drop-image leaves such images out."
    )
    if survey.shared:
        novel = (
            "What training does with images that show a held-out class: drop-image leaves them out. Since test "
            "episodes show held-out classes only, no test image is trained on although the lists are the same."
        )
    lines += [f"min_object_pixels = {least}", _comment(novel)]
    return [*lines, f"novel_in_train = {_toml('drop-image' if survey.shared else 'background')}"]


def _summary(survey: Survey, folds: Folds, least: int, *, chosen: bool) -> str:
    names = survey.classes
    lines = [f"found {survey.layout.found}: {len(names)} class{'' if len(names) == 1 else 'es'}"]
    count = len(folds.folds)
    if count < USUAL and not chosen:
        lines.append(f"{count} fold{'s' if count > 1 else ''} in place of {USUAL}: no more classes have enough images")
    if count == 1:
        lines.append("one fold holds out all classes: methods can be tested here, but not trained")
    images = "test images" if count == 1 else "images"
    lines.append(f"{images} with at least {least} pixels of the class{'' if count == 1 else ' (training / test)'}:")
    for fold, classes in folds.folds.items():
        train = {c: "" if count == 1 else f"{folds.train_images[c]}/" for c in classes}
        counts = [f"{names[c - 1]} {train[c]}{folds.test_images[c]}" for c in classes]
        lines.append(f"  fold {fold}: {', '.join(counts)}")
    if folds.left_out:
        lines.append(f"  in no fold, too few images: {', '.join(names[c - 1] for c in folds.left_out)}")
    dealt = [c for classes in folds.folds.values() for c in classes]
    few = [names[c - 1] for c in dealt if min(folds.train_images[c], folds.test_images[c]) < _FIVE_SHOT]
    if few:
        lines.append(f"fewer than {_FIVE_SHOT} images, too few for 5 shots: {', '.join(few)}")
    if survey.unused_lists:
        used = f"train_list {', '.join(survey.train_list)}; test_list {', '.join(survey.test_list)}"
        lines.append(f"lists that are not used: {', '.join(survey.unused_lists)} (used: {used})")
    if survey.decoded:
        lines.append(f"all {survey.decoded:,} images and masks were decoded: none is broken")
    else:
        lines.append(f"all masks were read; more than {MOST_DECODED:,} images, not decoded: data verify does it")
    return "\n".join([*lines, *survey.notes])


def _comment(text: str) -> str:
    plain = "".join(char if char.isprintable() else "?" for char in text)  # control characters are an error in TOML
    return "\n".join(f"# {line}" for line in textwrap.wrap(plain, _WIDTH, break_on_hyphens=False))


def _toml(text: str) -> str:
    """A TOML string. JSON's escapes are TOML's, but for the delete character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_list(values: Sequence[str]) -> str:
    one_line = f"[{', '.join(map(_toml, values))}]"
    if len(one_line) <= _WIDTH - len("classes = "):
        return one_line
    rows = [""]
    for value in map(_toml, values):
        if rows[-1] and len(rows[-1]) + len(value) > _WIDTH:
            rows.append("")
        rows[-1] += f"{value}, "
    return "\n".join(["[", *(f"  {row.rstrip()}" for row in rows), "]"])
