"""fsseg-bench: few-shot segmentation methods trained and evaluated under one protocol.

import fsseg_bench

frame = fsseg_bench.run(["baseline", "biopt"], "shapes5i", shot=1)
cells = fsseg_bench.sweep("table.toml")
everything = fsseg_bench.results()
first = fsseg_bench.table(1)
protocol = fsseg_bench.load_protocol("shapes5i")
method = fsseg_bench.build_method("panet", "resnet18-layer3", "none")
masks = fsseg_bench.predict([("cat1.jpg", "cat1-mask.png")], ["cat2.jpg"], checkpoint="results/runs/...")
predictor = fsseg_bench.Predictor("results/runs/...")

Scores are in percent. Public names are listed in ``__init__.pyi`` and imported when first used, so that reports never
load torch.
"""

import lazy_loader

from fsseg_bench.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
