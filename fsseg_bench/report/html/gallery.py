"""Pictures of episodes: the failures first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fsseg_bench.records.read import RecordWarning
from fsseg_bench.report.html.pictures import Panel, Picture, picture, run_panels
from fsseg_bench.report.html.runs import ShownRun
from fsseg_bench.report.html.text import escape, folded

_MOST = 200  # pictures; more make a page that a phone cannot hold
_WORST = (
    "Of each run the pictured episode with the lowest foreground IoU of all its episodes. It was chosen by this rule, "
    "as all pictures on this page are: the ranks are evenly spaced from the worst to the best."
)
_Shown = list[tuple[ShownRun, list[str]]]


class Gallery:
    """The pictures of ``runs``: the worst of each run, then the others, as many as the page holds.

    What could not be read is in ``warnings``.
    """

    def __init__(self, runs: Iterable[ShownRun]) -> None:
        self.warnings: list[RecordWarning] = []
        panels: list[tuple[ShownRun, list[Panel]]] = []
        for run in runs:
            own, warnings = run_panels(run.scored.record)
            panels.append((run, own))
            self.warnings += warnings
        self._places = _MOST
        self._left = 0
        self._failures = [(run, self._figures(p for p in own if p.worst)) for run, own in panels]
        self._others = [(run, self._figures(p for p in own if not p.worst)) for run, own in panels]

    @property
    def failures(self) -> str:
        """The worst episode of each run, by method; HTML."""
        blocks = _by_method(self._failures)
        return f"<p>{escape(_WORST)}</p>{blocks}" if blocks else ""

    @property
    def others(self) -> str:
        """The other pictures, run by run; HTML."""
        blocks = [
            folded(_title(run, figures), "".join(figures) + f'<p><a href="#{run.anchor}">about this run</a></p>')
            for run, figures in self._others
            if figures
        ]
        if self._left:
            blocks.append(
                f"<p>{self._left:,} more pictures are in the <code>panels</code> folders of the runs; this page holds "
                f"{_MOST}, the failures first.</p>"
            )
        return "\n".join(blocks)

    def _figures(self, panels: Iterable[Panel]) -> list[str]:
        figures = []
        for panel in panels:
            if not self._places:
                self._left += 1
                continue
            shown = picture(panel)
            if isinstance(shown, RecordWarning):
                self.warnings.append(shown)
            else:
                self._places -= 1
                figures.append(_figure(shown, panel.caption))
        return figures


def _by_method(shown: _Shown) -> str:
    """A block for each method; the first is open."""
    methods: dict[str, list[str]] = {}
    for run, figures in shown:
        if figures:
            link = f'<h4><a href="#{run.anchor}">{escape(run.name)}</a></h4>'
            methods.setdefault(run.scored.record.settings.method, []).append(link + "".join(figures))
    return "\n".join(
        folded(f"{escape(method)}: {_pictures(len(blocks))}", "\n".join(blocks), opened=i == 0)
        for i, (method, blocks) in enumerate(methods.items())
    )


def _title(run: ShownRun, figures: Sequence[str]) -> str:
    return f"{escape(run.name)}: {_pictures(len(figures))}"


def _pictures(count: int) -> str:
    return f"{count} picture{'s' if count != 1 else ''}"


def _figure(shown: Picture, caption: str) -> str:
    text = escape(caption)
    return (
        f'<figure><div class="scroll"><img src="{shown.uri}" width="{shown.width}" height="{shown.height}" '
        f'alt="{text}"></div><figcaption>{text}</figcaption></figure>'
    )
