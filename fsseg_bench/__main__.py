"""``python -m fsseg_bench`` is ``fsseg-bench``."""

from fsseg_bench.cli.main import main

main()
