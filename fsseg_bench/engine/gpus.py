"""The GPUs that this process may use, as JSON on its standard output.

It is a process of its own: whoever only starts others needs neither torch nor a part of a GPU's memory.
"""

from __future__ import annotations

import json
import sys

import torch

from fsseg_bench.engine.device import BACKENDS


def main() -> None:
    """A list with one object a GPU: the ``environment`` of a process that sees it alone, and its ``memory``."""
    backend = BACKENDS["cuda"]
    found = [
        {"environment": backend.alone(number), "memory": backend.memory(torch.device("cuda", number))}
        for number in range(backend.count())
    ]
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
