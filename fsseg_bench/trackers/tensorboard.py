"""TensorBoard, through PyTorch's writer: event files in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping

from fsseg_bench.trackers.contract import Ending, TrackedRun


class TensorBoard:
    """``tensorboard --logdir results/runs`` shows all runs."""

    def __init__(self) -> None:
        """Imports the writer.

        Raises:
            ImportError: TensorBoard is not installed.
        """
        from torch.utils.tensorboard import SummaryWriter

        self._writer_of = SummaryWriter
        self._last = 0

    def begin(self, run: TrackedRun, step: int) -> None:
        """Events go to ``tensorboard/`` in the run's folder; what an earlier session wrote from ``step`` on is void."""
        # purge_step=0 would write an event that hides nothing, and None says that there is nothing to hide
        self._writer = self._writer_of(str(run.folder / "tensorboard"), purge_step=step or None)
        rows = "\n".join(f"| {key} | {value} |" for key, value in run.flat().items())
        self._writer.add_text("settings", f"| setting | value |\n| --- | --- |\n{rows}", step)
        self._last = step

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """A scalar each."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._last = step

    def finish(self, scores: Mapping[str, float], ending: Ending) -> None:
        """Scores stand at the last training step."""
        for name, value in scores.items():
            self._writer.add_scalar(name, value, self._last)
        self._writer.close()
