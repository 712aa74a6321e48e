"""``python -m tests.support.shortened`` is ``fsseg-bench`` with the short trainings of the documentation's tests."""

from __future__ import annotations

from fsseg_bench.cli.main import main
from tests.support.documented import shorten

shorten()
main()
