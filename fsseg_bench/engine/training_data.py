"""The data that a run trains on: the protocol's own, or those of another one that it names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable
from dataclasses import dataclass, replace

from fsseg_bench.data.index import PairIndex, build_index
from fsseg_bench.data.open import open_source
from fsseg_bench.data.photos import shared_photos
from fsseg_bench.data.source import Source
from fsseg_bench.errors import NotHereError
from fsseg_bench.paths import data_root
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.training import TrainingRules, shared_names

OpenSources = dict[Hashable, tuple[Source, PairIndex]]
"""Sources and indices by protocol and places of the data: opened once for the runs of one command, which read each test
image once for all of them."""


@dataclass(frozen=True)
class TrainingData:
    """What a run trains on. Label values are those of its own protocol, which may not be that of the episodes."""

    rules: TrainingRules
    source: Source
    index: PairIndex
    elsewhere: bool
    """Whether they are another protocol's."""

    @property
    def protocol(self) -> Protocol:
        """Whose classes and rules the images have; its geometry is that of the episodes' protocol."""
        return self.rules.protocol

    @property
    def fold(self) -> int:
        """Of that protocol."""
        return self.rules.fold

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the index; of another protocol's, and of what is left out of it."""
        if not self.elsewhere:
            return self.index.fingerprint
        left_out = sorted(self.index.left_out.items())
        text = f"{self.index.fingerprint}\n{json.dumps(left_out)}"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was left out of the data, or read otherwise than as it is written."""
        return (*self.index.remarks([self.fold] if self.fold else []), *self.index.source_remarks)

    def shared_with(self, protocol: Protocol, fold: int) -> tuple[str, ...]:
        """What to say of novel classes whose names are trained on; empty where there are none."""
        names = shared_names(protocol, fold) if self.elsewhere else ()
        if not names:
            return ()
        count, whole = len(names), len(protocol.novel_classes(fold))
        are = "class of its name is" if count == 1 else "classes of their names are"
        text = f"of the {whole} novel classes, {count} cannot count as unseen: {are} trained on ({self.rules.words}): "
        return (text + ", ".join(names),)


def open_test(protocol: Protocol, root: str | None, opened: OpenSources) -> tuple[Source, PairIndex]:
    """The data of a protocol's episodes; and of its training, unless it trains on another one.

    Raises:
        NotHereError: they are nowhere.
        UserError: a list, an image or a mask is missing or wrong.
    """
    key = _key(protocol, root)
    if key not in opened:
        source = open_source(protocol, data_root(root))
        opened[key] = (source, build_index(source, protocol))
    return opened[key]


def open_training(protocol: Protocol, fold: int, root: str | None, opened: OpenSources) -> TrainingData:
    """What a run on ``fold`` trains on.

    Of another protocol's images, those whose photo is among the test images are left out where
    ``data.train_excludes_test`` of ``protocol`` says so.

    Raises:
        NotHereError: the data of one of the two are nowhere.
        UserError: a list, an image or a mask is missing or wrong.
    """
    source, index = open_test(protocol, root, opened)
    rules = protocol.training(fold)
    if protocol.train is None:
        return TrainingData(rules, source, index, elsewhere=False)
    key = "trained on", _key(rules.protocol, root), _key(protocol, root)
    if key not in opened:
        try:
            theirs, whole = open_test(rules.protocol, root, opened)
        except NotHereError as error:
            raise NotHereError(f"{protocol.label} trains on {rules.protocol.label}: {error}") from None
        opened[key] = theirs, _without_test_photos(theirs, whole, source, index)
    return TrainingData(rules, *opened[key], elsewhere=True)


def _key(protocol: Protocol, root: str | None) -> Hashable:
    # the digest does not say where data lie beside a user's file, nor in which file a source of this name is
    return protocol.digest, str(data_root(root)), protocol.home, protocol.data.kind


def _without_test_photos(source: Source, index: PairIndex, test_source: Source, test_index: PairIndex) -> PairIndex:
    if not test_index.protocol.data.train_excludes_test:
        return index
    test, train = (_images(one, split) for one, split in ((test_index, "test"), (index, "train")))
    same = shared_photos(source, train, test_source, test)
    if not same:
        return index
    rows = index.frame
    kept = rows[(rows["split"] != "train") | ~rows["image"].isin(same)]
    return replace(index, frame=kept, left_out={**index.left_out, **same})


def _images(index: PairIndex, split: str) -> list[str]:
    return sorted(set(index.frame.loc[index.frame["split"] == split, "image"]))
