"""The record of a prepared data set: its fingerprint, and whether it is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fsseg_bench.data.prepare.manifest import FOLDER
from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular
from fsseg_bench.storage.json_text import write_json


@dataclass(frozen=True)
class Record:
    """What a preparation ended with."""

    dataset: str
    fingerprint: str
    """Of the pair index: lists, image sizes and labels."""
    subset: bool
    """Whether less than the whole data set was asked for."""
    images: Mapping[str, int]
    """List name to its number of images."""

    def write(self, root: Path) -> None:
        """Puts the record under the data root.

        Raises:
            UserError: full disk or unwritable folder.
        """
        facts = {"fingerprint": self.fingerprint, "subset": self.subset, "images": dict(self.images)}
        write_json(_path(root, self.dataset), facts)


def read_record(root: Path, dataset: str) -> Record | None:
    """The record of a data set; None when it was not prepared under ``root``.

    Raises:
        UserError: the record is damaged or cannot be read.
    """
    path = _path(root, dataset)
    try:
        facts = json.loads(regular(path).read_text(encoding="utf-8"))
        images = {str(name): int(count) for name, count in facts["images"].items()}
        return Record(dataset, str(facts["fingerprint"]), bool(facts["subset"]), images)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: the record is damaged ({error}); delete it and prepare the data again") from None


def _path(root: Path, dataset: str) -> Path:
    return root / FOLDER / f"{dataset}.json"
