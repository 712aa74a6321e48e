"""What the page says of a contest in words; HTML where it says so."""

from __future__ import annotations

from fsseg_bench.protocol.paired import ALIKE
from fsseg_bench.report.compare_tables import overall_name
from fsseg_bench.report.html.page import escape
from fsseg_bench.report.html.pairs import Pair
from fsseg_bench.report.html.standing import Contest
from fsseg_bench.report.html.words import listing, p_words, points, to
from fsseg_bench.report.intervals import span


def certainty(contest: Contest) -> tuple[str, str]:
    """A class of style, and the answer in HTML, which closes the ``strong`` that it begins in."""
    pairs = [contest.pairs[0, i] for i in range(1, contest.compared) if (0, i) in contest.pairs]
    places = {pair.other for pair in pairs if pair.state == "shown"}
    shown = [contest.name(i) for i in sorted(places)]
    rest = [contest.name(i) for i in range(1, contest.compared) if i not in places]
    if not rest:
        which = {1: "the difference is", 2: "both differences are"}.get(len(shown), f"all {len(shown)} differences are")
        among = f" among the first {contest.compared} rows" if contest.compared < len(contest.standings) else ""
        choice = "test images" if contest.over_images else "episodes"
        corrected = f", corrected for {contest.family} comparisons" if contest.family > 1 else ""
        scope = f"as far as the choice of {choice} goes{among}"
        return "yes", f"Yes</strong>, {scope}: {which} too large for chance (95 %{corrected})."
    if not shown:
        return "no", f"No.</strong> No difference from {escape(listing(rest, 'or'))} is shown."
    better, open_ = escape(listing(shown)), escape(listing(rest, "or"))
    return "part", f"In part.</strong> It is better than {better}; no difference from {open_} is shown."


def sentence(contest: Contest, pair: Pair) -> str:
    """The difference in words, HTML."""
    better, other = escape(contest.name(pair.better)), escape(contest.name(pair.other))
    found = pair.found.difference
    if found.unknown == ALIKE:
        return f"{better} and {other} have the same counts in every episode."
    value = points(100 * found.value, *(100 * end for end in (found.low, found.high) if end is not None))
    if found.low is None or found.high is None:
        return f"{better} is {value} above {other}; no interval: {escape(found.unknown)}."
    p = p_words(pair.found.p_holm)
    if pair.state == "corrected":
        p = f"{p_words(found.p)} alone, corrected {p}"
    ends = f"{to(100 * found.low, 100 * found.high, like=value)}; {p}"
    if pair.state == "open":
        return f"No difference between {better} and {other} is shown: {value}, {ends}."
    return f"<b>{better}</b> is <b>{value} above</b> {other}, {ends}."


def about(contest: Contest) -> str:
    """What scores, lines and differences are; plain text."""
    runs = contest.runs
    episodes = span(len(run.counts.classes) for run in runs)
    where = overall_name(contest.folds, contest.every, f"the mean over all {len(contest.folds)} folds")
    per = " a fold" if len(contest.folds) > 1 else ""
    over = "over images and episodes" if contest.over_images else "over episodes of the same images alone"
    parts = [f"Scores are of {where}, with {episodes} episodes{per}.", f"Lines are 95 % intervals {over}."]
    if contest.pairs:
        corrected = f", their p-values corrected for all {contest.family} pairs (Holm)" if contest.family > 1 else ""
        parts.append(f"Differences are paired over the same episodes{corrected}.")
    if contest.compared < len(contest.standings):
        parts.append(f"Of {len(contest.standings)} rows the first {contest.compared} are compared.")
    parts.append(_trainings(contest))
    if contest.left_out:
        parts.append(f"Not ranked, since folds are missing: {'; '.join(contest.left_out)}.")
    return " ".join(parts)


def _trainings(contest: Contest) -> str:
    counts = {len(standing.trainings) for standing in contest.standings}
    trainings = [run.record.settings for run in contest.runs]
    untrained = [settings.iterations == 0 and not settings.stages for settings in trainings]
    if all(untrained):
        return "Nothing was trained."
    if counts == {1}:
        which = "What was trained was" if any(untrained) else "Each was"
        return f"{which} trained once: how far training again would move a number is not known."
    return "Small dots are single trainings; intervals hold for these trainings and do not cover training again."
