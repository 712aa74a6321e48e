"""fsseg-bench: few-shot segmentation methods trained and evaluated under one protocol.

import fsseg_bench

protocol = fsseg_bench.load_protocol("shapes5i")
method = fsseg_bench.build_method("panet", "resnet18-layer3", "none")
frame = fsseg_bench.run("biopt", "shapes5i", shot=1)
everything = fsseg_bench.results()
masks = fsseg_bench.predict([("cat1.jpg", "cat1-mask.png")], ["cat2.jpg"], checkpoint="results/runs/...")
predictor = fsseg_bench.Predictor("results/runs/...")
first = fsseg_bench.table(1)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fsseg_bench.version import __version__ as __version__

if TYPE_CHECKING:
    from fsseg_bench.api import run as run
    from fsseg_bench.engine.build import build_method as build_method
    from fsseg_bench.engine.predict.once import predict as predict
    from fsseg_bench.engine.predict.predictor import Predictor as Predictor
    from fsseg_bench.errors import UserError as UserError
    from fsseg_bench.method import Episode as Episode
    from fsseg_bench.method import Method as Method
    from fsseg_bench.method import Prediction as Prediction
    from fsseg_bench.protocol.load import load_protocol as load_protocol
    from fsseg_bench.recipe import Recipe as Recipe
    from fsseg_bench.registry import method_names as method_names
    from fsseg_bench.report.frames import results as results
    from fsseg_bench.report.frames import table as table

_WHERE = {
    "Episode": "fsseg_bench.method",
    "Method": "fsseg_bench.method",
    "Prediction": "fsseg_bench.method",
    "Predictor": "fsseg_bench.engine.predict.predictor",
    "Recipe": "fsseg_bench.recipe",
    "UserError": "fsseg_bench.errors",
    "build_method": "fsseg_bench.engine.build",
    "load_protocol": "fsseg_bench.protocol.load",
    "method_names": "fsseg_bench.registry",
    "predict": "fsseg_bench.engine.predict.once",
    "results": "fsseg_bench.report.frames",
    "run": "fsseg_bench.api",
    "table": "fsseg_bench.report.frames",
}

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: reports never load torch."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
