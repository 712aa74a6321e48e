"""States kept while a training goes on: parameters alone, from which nothing goes on and by which nothing is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fsseg_bench.engine.plan import Plan
from fsseg_bench.errors import UserError
from fsseg_bench.method import Method
from fsseg_bench.nn.torch_file import save_sealed
from fsseg_bench.nn.weight_files import SEALED, named_tensors, open_file
from fsseg_bench.records.kept import equal_steps, state_path
from fsseg_bench.storage.files import atomic_writer, make_folder


@dataclass(frozen=True)
class Keeping:
    """What a run keeps of its training."""

    folder: Path
    """The run's."""
    run: str
    """Its identity."""
    steps: tuple[int, ...]
    """After which."""

    @classmethod
    def of(cls, plan: Plan, folder: Path) -> Keeping:
        """As the plan's request wants it."""
        count = plan.request.keep_checkpoints
        steps = equal_steps(count, plan.recipe.iterations) if count and plan.checkpoint is None else ()
        return cls(folder, plan.settings.identity, steps)

    def keep(self, method: Method, done: int) -> None:
        """Writes the parameters after ``done`` steps, whole or not at all, over those of an attempt before.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        path = state_path(self.folder, done)
        make_folder(path.parent)
        with atomic_writer(path) as file:
            save_sealed({"format": SEALED, "model": method.state_dict(), "kept": done, "run": self.run}, file)

    def lost(self, done: int) -> tuple[int, ...]:
        """Steps that a training is beyond, ``done`` as it is, without having kept its state."""
        return tuple(step for step in self.steps if step <= done and not state_path(self.folder, step).exists())


def keeping_words(plan: Plan, keeping: Keeping, done: int) -> list[str]:
    """What to say where something that was asked for is not kept; ``done`` are the steps that are made already."""
    if not plan.request.keep_checkpoints:
        return []
    if not keeping.steps:
        return [f"{keeping.folder}: no step is trained, so --keep-checkpoints keeps nothing"]
    lost = keeping.lost(done)
    if not lost:
        return []
    steps = ", ".join(map(str, lost))
    return [f"{keeping.folder}: the states after these steps cannot be kept any more: {steps} (--fresh begins again)"]


def load_kept(folder: Path, step: int, run: str) -> dict[str, Tensor]:
    """The parameters that the run with the identity ``run`` kept after ``step`` steps.

    Raises:
        UserError: no such file, damaged, edited, or of another run or step.
    """
    path = state_path(folder, step)
    content = open_file(path)
    if not isinstance(content, dict) or (content.get("kept"), content.get("run")) != (step, run):
        raise UserError(f"{path}: not the state of this run after {step} steps; remove it")
    return dict(named_tensors(content, path))
