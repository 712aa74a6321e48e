"""Finds plug-ins (methods, backbones, data sources) by name: built-in files, entry points, and a user's folder.

Finding names imports none of them; :func:`find` imports the one asked for.
"""

from __future__ import annotations

from fsseg_bench.plugins.finding import Kind, Place, docstring, find, place_of, places
from fsseg_bench.plugins.folders import class_at, place_of_class, portable_name

__all__ = ["Kind", "Place", "class_at", "docstring", "find", "place_of", "place_of_class", "places", "portable_name"]
