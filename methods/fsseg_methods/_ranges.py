"""Ranges that switches of several methods have."""

from __future__ import annotations

from typing import Annotated

from fsseg_bench.schema import Range

Count = Annotated[int, Range(least=1)]
"""A whole number from 1 on."""
Share = Annotated[float, Range(least=0, below=1)]
"""A share of what is dropped in training."""
