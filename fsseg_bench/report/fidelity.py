"""What methods' own cards say of how close they are to the original."""

from __future__ import annotations

from fsseg_bench.registry import cards

RECONSTRUCTION = "reconstruction"
"""The fidelity of a method that was built from too little to be the original."""


def reconstructions() -> frozenset[str]:
    """Names of the methods whose card says that they are a reconstruction.

    Raises:
        UserError: as :func:`fsseg_bench.registry.cards`.
    """
    return frozenset(card.name for card in cards() if card.fidelity == RECONSTRUCTION)
