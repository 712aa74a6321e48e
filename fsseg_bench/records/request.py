"""What a user asks for: one run, as options; the ones that were given stand in its record as ``passed``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fsseg_bench.conventions import MOST_LABELS
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.protocol.lists import is_count
from fsseg_bench.schema import Must, Range
from fsseg_bench.seen import OF_WEIGHTS, wrong

if TYPE_CHECKING:
    from fsseg_bench.protocol.spec import Protocol

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
"""``fp32``: in full. ``tf32``: products of fp32 numbers rounded to ten bits, on a GPU. ``bf16``, ``fp16``: autocast,
and with fp16 losses are scaled so that small gradients do not vanish."""
CacheDtype = Literal["float32", "bfloat16", "float16"]
"""In which numbers features are kept between the encoding of an image and the episodes that read it."""
TrackerName = Literal["tensorboard", "trackio", "wandb", "mlflow"]
AtLeastZero = Annotated[int, Range(least=0)]
AtLeastOne = Annotated[int, Range(least=1)]

OFFICIAL = "official:"
"""What stands before the path of a checkpoint that its authors' code wrote, with their names of the parameters."""


BACKGROUND_THRESHOLD = "background-threshold"
MERGES = ("max-logit", "softmax", f"{BACKGROUND_THRESHOLD}=T")
"""Rules that join N one-way predictions; :mod:`fsseg_bench.engine.merge` says what they are."""


def threshold_of(rule: str) -> float:
    """T of ``background-threshold=T``; 0.5 where it is not given.

    Raises:
        ValueError: it is no number.
    """
    _, given, text = rule.partition("=")
    return float(text) if given else 0.5


def _is_merge(rule: str) -> bool:
    if not rule.startswith(BACKGROUND_THRESHOLD):
        return rule in MERGES
    try:
        return rule.partition("=")[0] == BACKGROUND_THRESHOLD and 0 < threshold_of(rule) < 1
    except ValueError:
        return False


@dataclass(frozen=True)
class RunRequest:
    """One method on one fold. :func:`fsseg_bench.engine.plan.make_plan` checks everything."""

    method: str = ""
    """Empty only where a record does not say it."""
    dataset: str = ""
    """The protocol's name or file; empty as ``method``."""
    fold: AtLeastOne = 1
    way: Annotated[int, Range(least=1, most=MOST_LABELS)] = 1
    shot: AtLeastOne = 1
    merge: Annotated[str, Must(" or ".join(MERGES) + ", 0 < T < 1", _is_merge)] | None = None
    """How N one-way predictions become an N-way one, and training is one-way; None: the method does N ways itself."""
    backbone: str | None = None
    """None: the method's own, or a light one for the embedded images. ``published``: the method's own."""
    weights: str | None = None
    """``imagenet``, ``none`` or a file. None: ``imagenet``, or ``none`` for the embedded images."""
    data_root: str | None = None
    seed: AtLeastZero = 0
    device: str = "auto"
    precision: Precision = "fp32"
    nondeterministic: bool = False
    """Whether a GPU may use its fastest algorithms, also those that add in another order each time."""
    iterations: AtLeastZero | None = None
    """None: as the recipe says. 0: evaluate without training."""
    episodes: str | None = None
    """A number, or a CSV file to replay (``{fold}`` in its name is the fold's number). None: as the protocol says."""
    scales: Annotated[tuple[Annotated[float, Range(above=0, most=4)], ...], Must("at least one number", bool)] = (1.0,)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """``--set``: ``recipe.KEY``, ``protocol.SECTION.KEY``, ``stage.NAME.KEY``, ``weights.KEY``, or a switch of the
    method; text, or Python values."""
    workers: AtLeastZero | None = None
    threads: Annotated[int, Range(least=1, most=4096)] | None = None
    """That compute on the CPU, from then on in this process; with far more, PyTorch crashes. None: as many as it
    takes."""
    eval_only: str | None = None
    """A checkpoint or a run folder to evaluate instead of training; ``official:PATH`` is a file of the authors."""
    fresh: bool = False
    out: str | None = None
    methods_path: str | None = None
    backbones_path: str | None = None
    sources_path: str | None = None
    no_check: bool = False
    """Test images and masks are not decoded before the run begins (their bytes are digested all the same)."""
    head_batch: AtLeastOne | None = None
    cache_gib: Annotated[float, Range(least=0)] | None = None
    cache_dtype: CacheDtype = "float32"
    """Of the features of test images. Other than float32: every feature is rounded to it, kept or not."""
    panels: AtLeastZero = 5
    checkpoint_every: Annotated[float, Range(least=0)] = 60.0
    """Seconds of training between two checkpoints; 0: one after every step."""
    keep_checkpoints: AtLeastZero = 0
    """States to keep after equally spaced steps of the training, beside the checkpoint; nothing in a run reads them."""
    track: tuple[TrackerName, ...] = ()
    """Who is told of losses and scores besides the record."""

    def given(self) -> dict[str, Any]:
        """The options that differ from their defaults, by name."""
        default = RunRequest()
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != getattr(default, f.name)}

    @property
    def train_way(self) -> int:
        """Ways of a training episode, and of those that the method sees in evaluation."""
        return self.way if self.merge is None else 1

    @property
    def episode_list(self) -> str:
        """The CSV file whose episodes are replayed; empty where none is."""
        return self.episodes if self.episodes and not is_count(self.episodes) else ""


def protocol_of(request: RunRequest) -> Protocol:
    """The protocol of a request, with its changes.

    Raises:
        UserError: as :func:`fsseg_bench.protocol.load.load_protocol`.
    """
    from fsseg_bench.protocol.load import load_protocol, replace_episodes  # listing records does without

    protocol = load_protocol(request.dataset, grouped(request.settings)["protocol"], request.sources_path)
    if request.episodes is not None and is_count(request.episodes):
        return replace_episodes(protocol, int(request.episodes))
    return protocol


def grouped(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What ``--set`` gives, by what it changes: ``protocol``, ``recipe``, ``stage`` or ``switch``.

    And ``weights``: what it says of them, which changes no number.

    Raises:
        UserError: a key is no text, or names a switch twice; or weights have no such key or value.
    """
    groups: dict[str, dict[str, Any]] = {"protocol": {}, "recipe": {}, "stage": {}, "weights": {}, "switch": {}}
    for key, value in settings.items():
        if not isinstance(key, str):
            raise UserError(f"settings: {key!r} is no name; write 'recipe.KEY', 'protocol.SECTION.KEY' or a switch")
        group, _, rest = key.partition(".")
        if (group in {"protocol", "recipe"} and rest) or (group == "stage" and "." in rest):
            groups[group][rest] = value
        elif group == "stage" and rest:
            raise UserError(f"--set {key}: write stage.NAME.KEY, as in stage.base.iterations")
        elif group == "weights" and rest:
            groups[group][rest] = _stated(rest, value)
        else:
            name = key.removeprefix("method.")
            if name in groups["switch"]:
                raise UserError(f"--set {name} and --set method.{name} are the same switch; give one")
            groups["switch"][name] = value
    return groups


def _stated(key: str, value: Any) -> str:
    """What the user says of the weights."""
    if key not in OF_WEIGHTS:
        raise unknown("key", f"weights.{key}", [f"weights.{name}" for name in OF_WEIGHTS], "--set")
    if not isinstance(value, str) or wrong(key, value):
        raise UserError(f"--set weights.{key}={value}: use {wrong(key, '')}")
    return value
