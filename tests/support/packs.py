"""Packs made by hand, and packs that a careful forger changed: written without the package's own writer."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.records.owner import PACK_FILE
from fsseg_bench.records.pack import write_pack
from fsseg_bench.records.read import find_records
from tests.support.runs import SPREAD, write_run, write_training

Files = dict[str, bytes]
TABLE = EpisodeTable(((1,), (1,), (2,)), ("a", "b", "c"), ((("b",),), (("a",),), (("d",),)))
EVALUATED = "image,image_sha256,label_sha256\n" + "".join(f"{image},{image * 64},{image * 64}\n" for image in "abcd")
OTHER_TABLE = EpisodeTable(((1,), (1,), (2,)), ("a", "b", "c"), ((("d",),), (("a",),), (("d",),)))


def write_records(root: Path, folds: int = 2, **changes: Any) -> Path:
    """Records of some folds, each of the three episodes of :data:`TABLE`."""
    changes = {"evaluated_digest": _sha(EVALUATED.encode()), "extra": {"scores": SCORES}, **changes}
    for fold in range(1, folds + 1):
        folder = write_training(write_run(root, SPREAD, table=TABLE, fold=fold, **changes))
        (folder / "evaluated.csv").write_text(EVALUATED)
    return root


def packed(root: Path, path: Path, **options: Any) -> Path:
    """All finished records below ``root`` in one pack."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_pack(find_records(root)[0], path, **options)
    return path


SCORES = {"input": {"mean_iou": (0.5 + 0.8) / 2}}
"""40/80 for class 1 and 20/25 for class 2."""


def contents(pack: Path) -> Files:
    """A pack's files by name, without its manifest."""
    with zipfile.ZipFile(pack) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != "manifest.json"}


def manifest_of(pack: Path) -> dict[str, Any]:
    """A pack's manifest."""
    with zipfile.ZipFile(pack) as archive:
        found: dict[str, Any] = json.loads(archive.read("manifest.json"))
    return found


def forged(pack: Path, out: Path, files: Mapping[str, bytes], **changes: Any) -> Path:
    """``pack`` with other ``files``, whose digests its manifest and its comment state again."""
    stated = [{"name": n, "size": len(files[n]), "sha256": _sha(files[n])} for n in sorted(files)]
    return zipped(out, manifest_of(pack) | {"files": stated} | changes, {name: files[name] for name in sorted(files)})


def remade(pack: Path, out: Path, change: Callable[[dict[str, Any], Files], object]) -> Path:
    """``pack``, of one record, after ``change`` of its run.json and its other files, with all that depends on them made
    anew: digests in the settings, identity, lines, seals, and the folder's name; the scores are left out."""
    record = manifest_of(pack)["records"][0]
    own = {name.rpartition("/")[2]: data for name, data in contents(pack).items()}
    info = json.loads(own.pop("run.json"))
    change(info, own)
    settings = info["settings"]
    for name, key in (("episodes.csv", "episode_digest"), ("evaluated.csv", "evaluated_digest")):
        settings |= {key: _sha(own[name])} if name in own else {}
    identity = _sha(_canonical(settings))
    own |= {name: relinked(rows_of(data), identity) for name, data in own.items() if name.endswith(".jsonl")}
    log, sealed = own["episodes.jsonl"], info.get("files", {})
    info |= {"episodes": {"count": len(rows_of(log)), "sha256": _sha(log)}, "scores": {}}
    info["files"] = {name: _sha(own[name]) if name in own else digest for name, digest in sealed.items()}
    own["run.json"] = resealed(json.dumps(info).encode(), lambda _: None)
    place = "{protocol}/{method}-{backbone}/{way}way-{shot}shot/fold{fold}-seed{seed}-".format(**settings)
    changed = {"folder": place + identity[:8], "identity": identity, "left_out": sorted(set(sealed) - set(own))}
    files = {f"{changed['folder']}/{name}": data for name, data in own.items()}
    return forged(pack, out, files, records=[record | changed])


def zipped(out: Path, manifest: Any, files: Mapping[str, bytes]) -> Path:
    """A zip as a pack is one."""
    text = json.dumps(manifest).encode()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", text)
        for name, data in files.items():
            archive.writestr(name, data)
        archive.comment = f"sha256:{_sha(text)}".encode()
    return out


def resealed(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """run.json after ``change``, with identity and check as they belong."""
    info = json.loads(data)
    change(info)
    info["identity"] = _sha(_canonical(info["settings"]))
    info["check"] = _sha(_canonical({key: value for key, value in info.items() if key != "check"}))
    return json.dumps(info).encode()


def relinked(rows: list[dict[str, Any]], seed: str) -> bytes:
    """Lines with checks that build on each other, from the identity on."""
    return b"".join(_lines(rows, seed))


def _lines(rows: list[dict[str, Any]], state: str) -> Iterator[bytes]:
    for row in rows:
        body = json.dumps({k: v for k, v in row.items() if k != "check"}, separators=(",", ":")).encode()
        state = _sha(state.encode() + b"\n" + body)[:16]
        yield body[:-1] + f',"check":"{state}"}}\n'.encode()


def rows_of(data: bytes) -> list[dict[str, Any]]:
    """The rows of an episode log."""
    return [json.loads(line) for line in data.splitlines()]


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


__all__ = [
    "PACK_FILE",
    "contents",
    "forged",
    "packed",
    "relinked",
    "remade",
    "resealed",
    "rows_of",
    "write_records",
    "zipped",
]
