"""The side of the square input, which knows how an image comes to fill it."""

from __future__ import annotations

from typing import NamedTuple


class Part(NamedTuple):
    """What of a square an image fills, from its upper left corner on."""

    height: int
    """In pixels."""
    width: int


class Side(int):
    """A side in pixels, and what of the square an image fills: all of it (``squash``), or a part of it (``pad``).

    With ``multiple`` 0 both sides of an image become the square's. From 1 on the image keeps its shape: its longer side
    becomes the square's, and both sides are rounded down to a multiple of ``multiple``, at least to one. The rest of
    the square, right and below, is padding. It is a number otherwise, so that whatever takes a side takes it; what is
    computed from it is a plain number, which squashes (:meth:`scaled` keeps the kind).

    Example:
        >>> Side(473, 8).part(375, 500)  # 375 * 473 / 500 is 354.75
        Part(height=352, width=472)
        >>> Side(473).part(375, 500)
        Part(height=473, width=473)
    """

    multiple: int
    """0: images are squashed; else what the sides of the filled part are multiples of."""

    def __new__(cls, pixels: int, multiple: int = 0) -> Side:
        """``pixels`` are the square's side."""
        made = super().__new__(cls, pixels)
        made.multiple = multiple
        return made

    @classmethod
    def of(cls, side: int) -> Side:
        """``side`` itself, or a plain number as the side of a square that images are squashed to."""
        return side if isinstance(side, Side) else cls(side)

    @property
    def pads(self) -> bool:
        """Whether images keep their shape."""
        return self.multiple > 0

    def scaled(self, factor: float) -> Side:
        """The side of the same kind that is ``factor`` times as long, rounded."""
        return Side(round(self * factor), self.multiple)

    def part(self, height: int, width: int) -> Part:
        """What an image of ``height`` x ``width`` pixels fills."""
        if not self.pads:
            return Part(int(self), int(self))
        longest = max(height, width)
        # in whole numbers: int(107 * (512 / 107)) is 511, as papers' code has it, and 504 as a multiple of 8
        return Part(*(self._floored(side * self // longest) for side in (height, width)))

    def _floored(self, pixels: int) -> int:
        return min(int(self), max(pixels // self.multiple, 1) * self.multiple)

    def shares(self, height: int, width: int) -> tuple[float, float]:
        """The part's height and width as shares of the square's, for an image of ``height`` x ``width`` pixels."""
        part = self.part(height, width)
        return part.height / self, part.width / self
