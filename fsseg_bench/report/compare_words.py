"""What a comparison's tables say in words."""

from __future__ import annotations

from fsseg_bench.protocol.statistics import IntervalKind
from fsseg_bench.report.compare import Comparison
from fsseg_bench.report.intervals import images_words, span
from fsseg_bench.report.seen import differences, seen_of_run


def comparison_remarks(comparison: Comparison) -> list[str]:
    """What was left out, what differs and what was seen, what the numbers are, and of what."""
    first = comparison.baseline.label
    differing = [
        f"{first} and {versus.other.label} also differ in {'; '.join(versus.differs)}."
        for versus in comparison.versus
        if versus.differs
    ]
    contenders = [comparison.baseline, *(versus.other for versus in comparison.versus)]
    seen = differences((contender.label, seen_of_run(contender.example)) for contender in contenders)
    return [
        *(note if note.endswith(".") else f"{note}." for note in comparison.notes),
        *differing,
        *seen,
        f"{_MEANING[comparison.interval].format(resamples=comparison.resamples)} p (Holm): {_family(comparison)} "
        "Neither interval nor p-value covers training again.",
        _of_what(comparison),
    ]


_MEANING: dict[IntervalKind, str] = {
    "images": (
        "The interval says how far the difference would move with other test images of the same kind. p: two-sided t "
        "test with the same standard error."
    ),
    "episodes": (
        "The interval is over episodes alone (bootstrap, stratified by class), which says nothing about other images. "
        "p: two-sided approximate randomisation over episodes, {resamples:,} resamples."
    ),
}


def _family(comparison: Comparison) -> str:
    """What the p-values of the differences are corrected for."""
    count, first = len(comparison.versus), comparison.baseline.label
    if count == 1:
        return f"as p, since one method is compared with {first}."
    return f"corrected for the {count} methods compared with {first}, line by line."


def setting_words(comparison: Comparison) -> str:
    """Ways, shots and episodes, for a caption."""
    settings = comparison.baseline.settings
    return f"{settings.way}-way {settings.shot}-shot, {span(comparison.episodes)} episodes a fold"


def _of_what(comparison: Comparison) -> str:
    """The episodes and where pixels are counted."""
    digests = ", ".join(
        f"fold {f} {digest[:8]}" for f, digest in zip(comparison.folds, comparison.digests, strict=True)
    )
    known = [images for images in comparison.images if images is not None]
    images = f"{images_words(known)}; " if known else ""
    where = "the protocol's input size" if comparison.resolution == "input" else "the images' own size"
    return f"The episodes of a fold: {images}digests: {digests}. Pixels are counted at {where}."
