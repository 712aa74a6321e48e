"""Released checkpoints: recognised by the names of their tensors, renamed, compared with the method tensor by tensor.

What a file holds beside the parameters is passed over, what the method has no use for is told by name, and anything
that is missing, of another shape or unknown is an error: no tensor is dropped or left at random in silence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from fsseg_bench.engine.build import BASE_CLASSES, TrainedFile, assemble
from fsseg_bench.engine.switches import parse_switches
from fsseg_bench.errors import UserError
from fsseg_bench.method import Method
from fsseg_bench.nn.backbones import for_shapes
from fsseg_bench.nn.released import COUNTER, Imported, Origin, Released
from fsseg_bench.nn.weight_files import file_hash, named_tensors, open_file
from fsseg_bench.records.request import OFFICIAL
from fsseg_bench.registry import find_method, method_names, released_of
from fsseg_bench.schema import WrongError, parse
from fsseg_bench.storage.files import atomic_writer
from fsseg_bench.storage.json_text import plain

_HEADER = "fsseg-bench"
_DIGEST = "parameters"
_SHOWN = 3


class Places(NamedTuple):
    """Where further methods and backbones of the user lie."""

    methods: str | None = None
    backbones: str | None = None


_HERE = Places()


def import_official(
    path: Path, method: str | None = None, backbone: str | None = None, places: Places = _HERE
) -> tuple[Imported, Released]:
    """The parameters of a file that the authors' code wrote, by the names that they have here; and its kind.

    Without ``method`` or ``backbone`` they are found out.

    Raises:
        UserError: the file cannot be read, is damaged, would run code, is of no known kind, or of another method or
            backbone; or a tensor is missing, unknown, of another shape, or not finite.
    """
    state = named_tensors(open_file(path), path)
    digest = file_hash(path)
    name, kind = _kind(state, path, method, places)
    if backbone is not None and backbone not in kind.backbones:
        known = " or ".join(kind.backbones)
        raise UserError(f"{path}: {kind.what} is known of {known}, not of {backbone}; give --backbone {known}")
    counted = kind.classes and state.get(kind.classes)
    base = len(counted) - 1 if isinstance(counted, Tensor) and counted.ndim else None
    tried = {
        trunk: _fitted(state, kind, _shapes(name, kind, trunk, base, places))
        for trunk in ([backbone] if backbone else kind.backbones)
    }
    fitting = [trunk for trunk, found in tried.items() if not found.problems]
    if not fitting:
        trunk, found = min(tried.items(), key=lambda item: len(item[1].problems))
        others = [each for each in kind.backbones if each != trunk]
        advice = f"; is it of {' or '.join(others)}?" if backbone and others else ""
        raise UserError(f"{path}: looks like {kind.what}, but {_told(found.problems)}{advice}")
    found = tried[fitting[0]]
    origin = Origin(
        file=path.name,
        digest=digest,
        what=kind.what,
        method=name,
        backbone=fitting[0],
        switches=plain(kind.switches),
        base_classes=base,
        lists=kind.lists,
        unused=found.unused,
        counters=found.counters,
        stage=kind.stage,
        rows=kind.rows,
    )
    return Imported(found.state, origin), kind


def find_imported(
    given: str, method: str | None = None, backbone: str | None = None, places: Places = _HERE, *, stage: str = ""
) -> TrainedFile | None:
    """The checkpoint that a user named, where it is ``official:PATH`` or a file that was imported before.

    It is the whole method's, or the network of a ``stage`` before it.

    Raises:
        UserError: as :func:`import_official`; an imported file is damaged, or of another method, backbone or stage.
    """
    if given.startswith(OFFICIAL):
        path = Path(given.removeprefix(OFFICIAL)).expanduser()
        if given == OFFICIAL:
            raise UserError(f"{given} names no file; write {OFFICIAL}PATH")
        if path.is_dir():
            raise UserError(f"{given}: this is a folder; name the authors' file in it")
        return _of_stage(TrainedFile(path, imported=import_official(path, method, backbone, places)[0]), given, stage)
    path = Path(given).expanduser()
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    found = read_imported(path)
    if found is None:
        return None
    for option, wanted, own in (
        ("--method", method, found.origin.method),
        ("--backbone", backbone, found.origin.backbone),
    ):
        if wanted is not None and wanted != own:
            raise UserError(f"{given}: parameters of {own}, not of {wanted}; give {option} {own}")
    return _of_stage(TrainedFile(path, imported=found), given, stage)


def find_network(given: str, method: str, backbone: str, stage: str, places: Places = _HERE) -> Imported:
    """The network of a stage before ``method`` that a user named, in either form of :func:`find_imported`.

    Raises:
        UserError: as there; or the file is none of a released network.
    """
    found = find_imported(given, method, backbone, places, stage=stage)
    if found is None or found.imported is None:
        raise UserError(
            f"{given}: no released network; give official:FILE for the authors' file, or the .safetensors that "
            "'fsseg-bench weights import' made of it"
        )
    return found.imported


def save_imported(imported: Imported, path: Path) -> None:
    """Writes a file of safetensors whose header says where the parameters come from.

    Raises:
        UserError: the name does not end in ``.safetensors``, the disk is full, or the folder cannot be written.
    """
    if path.suffix != ".safetensors":
        raise UserError(f"--out {path}: the name must end in .safetensors")
    header = imported.origin.to_json() | {_DIGEST: imported.digest}
    tensors = {name: tensor.contiguous() for name, tensor in imported.state.items()}
    # one entry alone: the library writes several in an order of chance
    content = safetensors.torch.save(tensors, {_HEADER: json.dumps(header, sort_keys=True)})
    with atomic_writer(path) as file:
        file.write(content)


def read_imported(path: Path) -> Imported | None:
    """What :func:`save_imported` wrote; None where the file is another one.

    Raises:
        UserError: it is damaged: its header, or parameters that are not those that the header states.
    """
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            header = (file.metadata() or {}).get(_HEADER)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path}: truncated, or not a safetensors file ({error})") from error
    if header is None:
        return None
    try:
        values = json.loads(header)
        stated = values.pop(_DIGEST)
        origin = parse(Origin, values, path)
    except (ValueError, KeyError, AttributeError, WrongError) as error:
        raise UserError(f"{path}: its header is damaged ({error}); import the authors' file again") from None
    found = Imported(named_tensors(open_file(path), path), origin)
    if found.digest != stated:
        raise UserError(f"{path}: its parameters are not those that were imported; import the authors' file again")
    return found


def _of_stage(found: TrainedFile, given: str, stage: str) -> TrainedFile:
    """``found``, where it is of this stage, or of the whole method (empty)."""
    origin = found.imported.origin if found.imported else None
    if origin is not None and origin.stage != stage:
        what = f"the network of stage {origin.stage} of {origin.method} alone" if origin.stage else "the whole method"
        raise UserError(f"{given}: {origin.what} is {what}; use it with 'fsseg-bench run {origin.use(given)}'")
    return found


class _Fitted(NamedTuple):
    state: dict[str, Tensor]
    problems: list[str]
    unused: tuple[str, ...]
    counters: int


def _kind(state: Mapping[str, Tensor], path: Path, method: str | None, places: Places) -> tuple[str, Released]:
    """The method and the kind of a file, by the names of its tensors."""
    everywhere = [(name, kind) for name in method_names(places.methods) for kind in released_of(name, places.methods)]
    known = [(name, kind) for name, kind in everywhere if kind.knows(state)]
    wanted = [each for each in known if method in {None, each[0]}]
    if len(wanted) == 1:
        return wanted[0]
    if wanted:
        names = " or ".join(name for name, _ in wanted)
        raise UserError(f"{path}: may be of {names} as its names go; say which with --method")
    if known:
        found = ", ".join(f"{kind.what}: --method {name}" for name, kind in known)
        raise UserError(f"{path}: not a file of {method} but of {found}")
    if method is not None:
        find_method(method, places.methods)  # an unknown name is told first
    marked = [kind for name, kind in everywhere if method in {None, name} and kind.marked(state)]
    if marked:
        strange = [name for name in state if marked[0].own(name) is None and not marked[0].why_unused(name)]
        raise UserError(f"{path}: looks like {marked[0].what}, but {_told(_unknown(strange))}")
    readable = sorted({name for name, _ in everywhere})
    raise UserError(
        f"{path}: the names of its tensors ({_few(state)}) are those of no known file; "
        f"files of {', '.join(readable)} are known"
        + (f"; of {method} none is" if method is not None and method not in readable else "")
    )


def _shapes(name: str, kind: Released, backbone: str, base: int | None, places: Places) -> Method:
    """The method, or the network of a stage before it, for its names and shapes alone."""
    cls: type[nn.Module] = kind.network or find_method(name, places.methods)
    if not issubclass(cls, Method) or bool(kind.network) != bool(kind.stage):
        raise UserError(f"{kind.what}: a table of a stage's files names the stage and its StageNetwork, both")
    switches = parse_switches(name, cls, kind.switches)
    count = BASE_CLASSES if base is None else base
    return for_shapes(lambda: assemble(cls, backbone, "none", switches, 0, count, places.backbones)[0])


def _fitted(state: Mapping[str, Tensor], kind: Released, method: Method) -> _Fitted:
    """The file's tensors as the method's, and what is wrong with them."""
    own = method.state_dict()
    unused = tuple(sorted(name for name in state if kind.why_unused(name)))
    used = {name: tensor for name, tensor in state.items() if name not in set(unused)}
    renamed = {str(kind.own(name)): tensor for name, tensor in used.items()}
    problems = [] if len(renamed) == len(used) else ["two of its tensors have one name here"]
    problems += _unknown([name for name in used if kind.own(name) not in own])
    problems += [
        f"{name} is not {first}, which it should repeat"
        for name, first in ((name, kind.first(name)) for name in state)
        if first and not (first in state and torch.equal(state[name], state[first]))
    ]
    missing = [name for name in own if name not in renamed]
    counters = [name for name in missing if name.endswith(COUNTER)]
    problems += [f"{name} is missing" for name in missing if name not in set(counters)]
    made: dict[str, Tensor] = {}
    for name, tensor in own.items():
        given = renamed.get(name)
        if given is None:
            made[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)
        elif given.shape != tensor.shape:
            problems.append(f"{name} has the shape {tuple(given.shape)}, needed {tuple(tensor.shape)}")
        elif given.layout != torch.strided or given.is_floating_point() != tensor.is_floating_point():
            problems.append(f"{name} is {given.dtype}, needed dense {tensor.dtype}")
        elif not bool(given.isfinite().all()):
            problems.append(f"{name} holds NaN or infinity")
        else:
            made[name] = given.detach().to(tensor.dtype, copy=True).contiguous()
    return _Fitted(made, problems, unused, len(counters))


def _unknown(names: Iterable[str]) -> list[str]:
    return [f"{name} is unknown" for name in names]


def _told(problems: list[str]) -> str:
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(problems[:_SHOWN]) + more


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")
