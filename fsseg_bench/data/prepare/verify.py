"""What there is of a data set, and damage: lists, files and their content, labels, and counts against known ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tabulate import tabulate

from fsseg_bench.data.decode import read_text
from fsseg_bench.data.index import PairIndex, build_index
from fsseg_bench.data.open import open_source
from fsseg_bench.data.photos import find_copies
from fsseg_bench.data.prepare.counts import count_lines
from fsseg_bench.data.prepare.making import made_by
from fsseg_bench.data.prepare.manifest import Manifest, Record, crc_of, read_manifest, read_record
from fsseg_bench.data.prepare.sources import Dataset, find_dataset, of_protocol_file
from fsseg_bench.data.source import Source
from fsseg_bench.errors import NotHereError, UserError
from fsseg_bench.progress import Progress
from fsseg_bench.protocol.data_spec import is_list_file
from fsseg_bench.protocol.spec import Protocol

_THREADS = 4
Lists = Mapping[str, Sequence[str]]
"""List name to image ids."""


@dataclass
class Findings:
    """What was found."""

    problems: list[str] = field(default_factory=list)
    """Damage; each names a file or a list."""
    notes: list[str] = field(default_factory=list)
    """Counts and comparisons."""


def verify(
    dataset: Dataset,
    protocol: Protocol,
    root: Path | None,
    progress: Progress,
    fast: bool = False,
    expected: Mapping[str, int] | None = None,
) -> Findings:
    """Checks the data of a protocol against its lists, the records of its preparation and the known counts.

    Of another protocol that is trained on, the data are checked as well, where they are: to test, they are not needed.

    With ``fast``, no file's content is read but lists and annotations. ``expected`` is how many images each list must
    have; None is what is known of the data set, or what was recorded when a subset of it was prepared.

    Raises:
        UserError: the data are nowhere.
    """
    found = Findings()
    source = open_source(protocol, root)
    record = read_record(root, dataset.name) if root is not None and dataset.parts else None
    if expected is None:
        expected = record.images if record is not None and record.subset else dataset.images
    lists = _check_lists(source, protocol, expected, found)
    images = {image for ids in lists.values() for image in ids}
    _run(found, progress, "looking for files", images, partial(_present, source))
    with suppress(UserError):  # a list that cannot be read is a problem already
        found.notes += source.remarks(sorted(images))
    found.problems += source.doubts({i for name in protocol.data.test_list for i in lists.get(name, ())})
    if root is not None:
        _check_manifests(dataset, root, fast, progress, found)
    if not fast:
        _run(found, progress, "reading images and masks", images, partial(_decode, source))
    if not fast and not found.problems and protocol.home is None and not source.crops:
        _count_copies(source, images, found)
    if not fast and not found.problems:
        _check_index(build_index(source, protocol), dataset, record, found)
    if protocol.train is not None:
        _check_training(protocol.train.rules, root, progress, fast, found)
    found.problems = list(dict.fromkeys(found.problems))
    return found


def _check_training(rules: Protocol, root: Path | None, progress: Progress, fast: bool, found: Findings) -> None:
    try:
        theirs = verify(dataset_of(rules), rules, root, progress, fast)
    except NotHereError as error:
        found.notes.append(f"trained on, {rules.label}: not here, and needed only to train: {error}")
        return
    found.notes += [f"trained on, {rules.label}: {note}" for note in theirs.notes]
    found.problems += theirs.problems


def dataset_of(protocol: Protocol) -> Dataset:
    """What is known of a protocol's data; of a user's own, and of one without a source, what the protocol says."""
    if protocol.home is None:
        with suppress(UserError):
            return find_dataset(protocol.name)
    return of_protocol_file(protocol.name)


def _check_lists(
    source: Source, protocol: Protocol, expected: Mapping[str, int], found: Findings
) -> dict[str, tuple[str, ...]]:
    """The lists that can be read."""
    lists: dict[str, tuple[str, ...]] = {}
    for name in dict.fromkeys((*protocol.data.train_list, *protocol.data.test_list)):
        try:
            lists[name] = source.ids(name)
        except UserError as error:
            found.problems.append(str(error))
            continue
        found.notes.append(f"list {name}: {len(lists[name]):,} images")
        file = Path(name) if is_list_file(name) else source.list_file(name)
        found.problems += _repeated(file)
        if name in expected and len(lists[name]) != expected[name]:
            found.problems.append(
                f"{source.list_file(name) or name}: the list {name} has {len(lists[name]):,} images; "
                f"it must have {expected[name]:,}"
            )
    test = {image for name in protocol.data.test_list for image in lists.get(name, ())}
    for name in protocol.data.train_list:
        if name not in protocol.data.test_list and (both := sorted(test & set(lists.get(name, ())))):
            found.problems.append(
                f"{source.list_file(name) or name}: {len(both):,} images of the training list {name} are test "
                f"images as well, {both[0]} for one"
            )
    return lists


def _repeated(path: Path | None) -> list[str]:
    if path is None or path.suffix != ".txt" or not path.is_file():
        return []
    lines = Counter(line.strip() for line in read_text(path, "list").splitlines() if line.strip())
    return [f"{path}: the line {line!r} is there {count} times" for line, count in lines.items() if count > 1]


def _present(source: Source, image: str) -> Iterator[str]:
    """Whether the files of an image are there and hold something."""
    for path in source.files(image):
        if not path.stat().st_size:
            yield f"{path}: the file is empty"


def _decode(source: Source, image: str) -> Iterator[str]:
    source.image(image)
    source.class_masks(image, (1,))  # one class is enough: the whole mask is decoded for it
    yield from ()


def _run(
    found: Findings, progress: Progress, title: str, items: Iterable[str], check: Callable[[str], Iterator[str]]
) -> None:
    """Runs a check on each item; what it yields and user errors that it raises are problems."""

    def problems(item: str) -> list[str]:
        try:
            return list(check(item))
        except UserError as error:
            return [str(error)]
        except OSError as error:
            return [f"{error.filename}: cannot be read: {error.strerror}"]

    work = sorted(items)
    with ThreadPoolExecutor(_THREADS) as pool, progress.meter(title, len(work), unit="files") as meter:
        for some in pool.map(problems, work):
            found.problems += some
            meter.advance()


def _check_manifests(dataset: Dataset, root: Path, fast: bool, progress: Progress, found: Findings) -> None:
    for name, title in _recorded(dataset):
        manifest = read_manifest(root, name)
        if manifest is None:
            found.notes.append(f"{title}: no record of its files, so single files cannot be compared with it")
            continue
        found.notes.append(f"{title}: {len(manifest.files):,} files from {manifest.origin}")
        found.notes += manifest.notes
        changed = dict(manifest.changed(root))
        found.problems += [f"{path}: {what}" for path, what in changed.items()]
        if not fast:
            same = [name for name in manifest.files if root / name not in changed]
            _run(found, progress, f"reading the files of {name}", same, partial(_compare, root, manifest))


def _recorded(dataset: Dataset) -> list[tuple[str, str]]:
    """Name and title of each record of files."""
    made = [(made_by(dataset), f"made for {dataset.name}")] if dataset.make else []
    return [*((part.name, part.title) for part in dataset.parts), *made]


def _count_copies(source: Source, images: Iterable[str], found: Findings) -> None:
    """What the index of the package's own protocols does not look at, since the papers did not."""
    if copies := find_copies(source, images):
        image, other = next(iter(copies.items()))
        found.notes.append(
            f"{len(copies):,} images have the same bytes as another one, and count as the papers counted them "
            f"({image} is {other})"
        )


def _compare(root: Path, manifest: Manifest, name: str) -> Iterator[str]:
    if crc_of(root / name) != manifest.files[name].crc:
        yield f"{root / name}: its content is not what was prepared"


def _check_index(index: PairIndex, dataset: Dataset, record: Record | None, found: Findings) -> None:
    found.notes.append(f"fingerprint: {index.fingerprint}")
    found.notes += index.remarks(index.protocol.folds)
    if record is not None and record.fingerprint != index.fingerprint:
        found.problems.append(
            f"{dataset.name}: the fingerprint is {index.fingerprint}; it was {record.fingerprint} when the data were "
            "prepared: lists, images or masks have changed"
        )
    least = index.protocol.data.min_object_pixels
    large = index.frame[index.frame["pixels"] >= least]
    for split, rows in large.groupby("split"):
        found.notes.append(f"{split}: {len(rows):,} pairs (image, class) with at least {least:,} pixels")
    found.notes += count_lines(dataset, index)
    published = dataset.published
    if published is None or published.min_object_pixels != least or (record is not None and record.subset):
        return
    if (published.list,) != index.protocol.data.test_list:
        return
    counts = Counter(large.loc[large["split"] == "test", "class"].tolist())
    for number, (name, count) in enumerate(zip(index.protocol.classes, published.pairs, strict=True), start=1):
        if counts[number] != count:
            found.notes.append(
                f"{name}: {counts[number]:,} images of {published.list}; {published.origin} have {count:,}"
            )


def describe(dataset: Dataset, protocol: Protocol, root: Path | None) -> str:
    """What there is of a protocol's data: place, origin, fingerprint, and how many images show enough of each class.

    Builds the pair index when there is none yet.

    Raises:
        UserError: the data are nowhere, or a file is missing or wrong.
    """
    source = open_source(protocol, root)
    record = read_record(root, dataset.name) if root is not None and dataset.parts else None
    manifests = [(title, read_manifest(root, name)) for name, title in _recorded(dataset)] if root is not None else []
    index = build_index(source, protocol)
    least = protocol.data.min_object_pixels
    large = index.frame[index.frame["pixels"] >= least]
    counts = Counter(zip(large["split"].tolist(), large["class"].tolist(), strict=True))
    parts = [*protocol.folds.items(), ("base", protocol.base), ("validation", protocol.validation)]
    folds = {name: part for part, names in parts for name in names}
    rows = [
        (number, name, folds.get(name, "-"), counts["train", number], counts["test", number])
        for number, name in enumerate(protocol.classes, start=1)
    ]
    lists = dict.fromkeys((*protocol.data.train_list, *protocol.data.test_list))
    return "\n".join(
        [
            f"{protocol.label}: {source.root}" + (" (a subset)" if record is not None and record.subset else ""),
            *(f"{title}: {manifest.origin}" for title, manifest in manifests if manifest is not None),
            *(note for _, manifest in manifests if manifest is not None for note in manifest.notes),
            f"fingerprint: {index.fingerprint}",
            f"images of the lists: {', '.join(f'{name} {len(source.ids(name)):,}' for name in lists)}",
            *index.remarks(protocol.folds),
            *index.source_remarks,
            *count_lines(dataset, index),
            f"images with at least {least:,} pixels of the class:",
            tabulate(rows, headers=("class", "name", "fold", "train", "test"), tablefmt="plain"),
            *_described_training(protocol, root),
        ]
    )


def _described_training(protocol: Protocol, root: Path | None) -> list[str]:
    if protocol.train is None:
        return []
    rules = protocol.train.rules
    try:
        theirs = describe(dataset_of(rules), rules, root)
    except NotHereError as error:
        theirs = f"not here, and needed only to train: {error}"
    return [f"trained on: {protocol.training(1).words}", theirs]
