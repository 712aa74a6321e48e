"""The settings that determine a run's numbers: their names, form and groups, their identity, and how tables show them.

The identity of a run that evaluated a checkpoint names the checkpoint by its digest alone, so that one checkpoint is
one run wherever it lies. What is known of its training stands beside it in run.json, as ``trained``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

from fsseg_bench.conventions import MOST_LABELS
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.records.request import AtLeastOne, CacheDtype, Precision
from fsseg_bench.schema import Must, Range
from fsseg_bench.storage.json_text import plain


def canonical_json(settings: Mapping[str, Any]) -> str:
    """``settings`` as JSON text that is equal for equal content: sorted keys, no spaces, no NaN."""
    return _canonical(plain(settings))


def identity_hash(settings: Mapping[str, Any]) -> str:
    """SHA-256 (64 hex digits) of :func:`canonical_json`; the order of keys does not matter."""
    return read_hash(plain(settings))


def read_hash(settings: Mapping[str, Any]) -> str:
    """As :func:`identity_hash`, of what was read from JSON: thousands of records are checked by it."""
    return hashlib.sha256(_canonical(settings).encode()).hexdigest()


def _canonical(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested settings by dotted name: ``{"recipe": {"lr": 1}}`` gives ``("recipe.lr", 1)``."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Each setting that differs, as ``name: value in first / value in second``, sorted by name."""
    left, right = dict(flat(plain(first))), dict(flat(plain(second)))
    names = sorted(name for name in left | right if left.get(name) != right.get(name))
    return [f"{name}: {_show(left, name)} / {_show(right, name)}" for name in names]


def _show(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name], ensure_ascii=False) if name in values else "not set"


class Rules(NamedTuple):
    """What numbers must share to stand in one table."""

    protocol: str
    label: str
    version: int
    digest: str
    way: int


def _different(labels: tuple[int, ...]) -> bool:
    return len(labels) == len(set(labels)) > 0 <= min(labels)


Parameters = Literal["here", "untrained", "checkpoint", "unknown"]
"""How a run got its parameters: by training, not at all, from another run's checkpoint, or from some file."""

OF_A_TABLE = (
    "protocol",
    "protocol_label",
    "protocol_version",
    "protocol_digest",
    "headline",
    "way",
    *("side_information", "pad_multiple", "boundary"),
)
"""Settings that all numbers of a table share."""
OF_A_FOLD = (
    *("fold", "novel", "class_names", "base_classes", "episode_digest", "checkpoint_digest", "checkpoint"),
    *("evaluated_digest", "unlabelled_digest", "stage_identities"),
)
"""Settings that belong to a fold, not to what was run on it."""
CONTENT = {
    "method_digest": "code",
    "data_fingerprint": "data",
    "training_fingerprint": "training data",
    "evaluated_digest": "test images or masks",
    "unlabelled_digest": "further test images",
    "weights_digest": "pretrained weights",
    "protocol_digest": "protocol values",
    "episode_digest": "episodes",
}
"""Settings that nobody gives, digests of what files hold, and what they are digests of."""
UNKNOWN = " (training unknown)"
"""How the words end for a file that says nothing of its training."""
RELEASED = tuple(f" (released checkpoint, not trained here; training lists {how})" for how in ("unknown", "published"))
"""How the words end for a file of the method's authors, by what is known of the lists that it was trained on."""
OF_TRAINING = (
    *("recipe", "seed", "weights", "weights_digest", "stages", "stage_identities"),
    *("training_data", "training_fingerprint"),
)
"""Settings that have no part in the evaluation of a checkpoint."""
_OF_BOTH = ("protocol_label", "way", "shot", "precision", "switches")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Two runs with equal settings are the same run. A setting that is None does not apply, or was not noted."""

    protocol: str
    protocol_label: str
    protocol_version: int
    protocol_digest: str
    data_fingerprint: str
    training_data: str | None = None
    """Which protocol and fold was trained on, in words, where that is another one."""
    training_fingerprint: str | None = None
    """Of its data."""
    episode_digest: str
    evaluated_digest: str | None = None
    """Of the test images and masks; not in early records."""
    method: str
    method_digest: str
    switches: Mapping[str, Any]
    recipe: Mapping[str, Any]
    """Empty where a checkpoint is evaluated."""
    backbone: str
    weights: str | None
    weights_digest: str | None
    fold: AtLeastOne
    way: Annotated[int, Range(least=1, most=MOST_LABELS)]
    shot: Annotated[int, Range(least=1, most=10**6)]
    seed: int
    precision: Precision
    scales: tuple[int | float, ...]
    base_classes: int | None = None
    """How many classes the fold trains on; not in early records."""
    novel: Annotated[tuple[int, ...], Must("different whole numbers", _different)]
    """Label values of the fold's held-out classes."""
    class_names: Mapping[str, str]
    """Of the held-out classes, by label value as text."""
    headline: Resolution
    checkpoint_digest: str | None = None
    """Of the file, where a checkpoint was evaluated."""
    unlabelled_digest: str | None = None
    """Of the images without masks that the method looks at, if any."""
    nondeterministic: bool | None = None
    """True where a GPU was free to add in another order each time."""
    merge: str | None = None
    """How one-way predictions were joined to N-way ones, where they were."""
    cache_dtype: CacheDtype | None = None
    """What features were rounded to for keeping; None: they were kept as they are."""
    stages: Mapping[str, Any] | None = None
    """How networks were trained before the method, by the names of the stages; None for most methods."""
    stage_identities: Mapping[str, str] | None = None
    """Which networks those are: each one's identity."""
    runs: Annotated[int, Range(least=1, most=1000)] | None = None
    """How many runs of equal length the episodes are, one behind the other, whose scores are averaged; None: one."""
    side_information: str | None = None
    """What the episodes give away of the query besides its pixels, in words; None under most protocols."""
    pad_multiple: Annotated[int, Range(least=1)] | None = None
    """Where images keep their shape and are padded: what their sides are multiples of; None: they are squashed."""
    boundary: Annotated[float, Range(above=0, below=1)] | None = None
    """Width of the bands along outlines that were counted, as a share of the diagonal; None: none were."""

    def __post_init__(self) -> None:
        """Refuses what no run has.

        Raises:
            ValueError: says what is wrong.
        """
        if type(self.recipe.get("iterations", 0)) is not int:
            raise ValueError(f"recipe.iterations is {self.recipe['iterations']!r}; it must be a whole number")

    @cached_property
    def identity(self) -> str:
        """The hash that tells runs apart: SHA-256, 64 hex digits."""
        return identity_hash(self.to_json())

    @property
    def rules(self) -> Rules:
        """Of a run's table."""
        return Rules(self.protocol, self.protocol_label, self.protocol_version, self.protocol_digest, self.way)

    @property
    def iterations(self) -> int | None:
        """Training steps of the recipe; None where the training is unknown."""
        found: int | None = self.recipe.get("iterations")
        return found

    @property
    def has_checkpoint(self) -> bool:
        """Whether the run's folder holds the parameters that it trained, itself or in stages before it."""
        return bool(self.iterations) or bool(self.stages)

    @property
    def parameters(self) -> Parameters:
        """How the run got its parameters."""
        if self.checkpoint_digest:
            return "checkpoint" if self.recipe else "unknown"
        return "untrained" if self.iterations == 0 and not self.stages else "here"

    def class_name(self, label: int) -> str:
        """The name of a held-out class, by its label value."""
        return self.class_names.get(str(label), str(label))

    def to_json(self) -> dict[str, Any]:
        """The mapping that the identity is the hash of, in JSON's types but for tuples."""
        return dict(self._values)

    @cached_property
    def _values(self) -> Mapping[str, Any]:
        may_lack = {field.name for field in fields(self) if field.default is None}
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        found = {name: value for name, value in values if value is not None or name not in may_lack}
        return found | {"scales": list(self.scales), "novel": list(self.novel)}

    def without(self, *names: str) -> dict[str, Any]:
        """As :meth:`to_json`, without some settings: for groups such as :data:`OF_A_FOLD`."""
        return {key: value for key, value in self._values.items() if key not in names}


@dataclass(frozen=True, kw_only=True)
class ShownSettings(RunSettings):
    """The settings of a run as tables and filters use them.

    Of an evaluated checkpoint, recipe, seed and weights are those of its training; the recipe is empty where the
    training is unknown. Of any other run they are the run's.
    """

    checkpoint: str | None = None
    """Which checkpoint was evaluated, in words."""
    trained_with: Mapping[str, Any] | None = None
    """What was different in the training of the checkpoint."""


@dataclass(frozen=True)
class CheckpointTraining:
    """What is known of the training of a checkpoint: of a file that lies in no run's folder, its name alone."""

    file: str
    run: str | None = None
    """The run's folder at the time."""
    identity: str | None = None
    settings: RunSettings | None = None
    stored: Mapping[str, Any] | None = None
    """The settings as the training's record holds them, which the identity is the hash of; for :meth:`to_json`."""
    released: Mapping[str, Any] | None = None
    """Of a checkpoint that the method's authors released: the ``file`` and its ``digest``, ``what`` it is, on which
    ``lists`` it was trained, and more."""

    def to_json(self) -> dict[str, Any]:
        """As run.json holds it."""
        if self.stored is None:
            return {"file": self.file} | ({"released": dict(self.released)} if self.released else {})
        return {"file": self.file, "run": self.run, "identity": self.identity, "settings": self.stored}


def settings_shown(settings: RunSettings, trained: CheckpointTraining | None) -> ShownSettings:
    """The settings of a run as tables and filters use them; see :class:`ShownSettings`."""
    values = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    values["recipe"] = _with_optimizer(settings.recipe)
    if not settings.checkpoint_digest:
        return ShownSettings(**values)
    source = trained.settings if trained else None
    if trained is None or source is None:
        words = " ".join(filter(None, (trained.file if trained else "", settings.checkpoint_digest[:8])))
        ending = UNKNOWN
        if trained and trained.released:
            words = f"{trained.released.get('file', '')} {str(trained.released.get('digest', ''))[:8]}"
            ending = RELEASED[trained.released.get("lists", "unknown") != "unknown"]
        return ShownSettings(**values | {"recipe": {}, "checkpoint": words + ending})
    pairs = {name: (getattr(source, name), getattr(settings, name)) for name in _OF_BOTH}
    pairs["nondeterministic"] = bool(source.nondeterministic), bool(settings.nondeterministic)
    changed = {name: _other(then, now) for name, (then, now) in pairs.items() if then != now}
    own = {name: getattr(source, name) for name in OF_TRAINING}
    own["recipe"] = _with_optimizer(source.recipe)
    words = f"run {str(trained.identity)[:8]}"
    return ShownSettings(**values | own | {"checkpoint": words, "trained_with": changed})


def _with_optimizer(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """A recipe that names its optimiser: records leave it out where it is SGD, the only one of earlier versions."""
    return {"optimizer": "sgd", **recipe} if recipe else recipe


def _other(value: Any, than: Any) -> Any:
    """``value``, of a mapping the entries that are not those of ``than``."""
    if isinstance(value, Mapping) and isinstance(than, Mapping):
        return {key: own for key, own in value.items() if key not in than or than[key] != own}
    return value
