"""Puts the two data folders into the wheel; an editable install reads them from the checkout."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

DATA_FOLDERS = {"protocols": "fsseg_bench/protocols", "results/published": "fsseg_bench/results/published"}


class DataFolders(BuildHookInterface[Any]):
    """Maps top-level data folders into the package (hatchling copies force-included files even when editable)."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folders unless the build is editable."""
        if version != "editable":
            build_data["force_include"].update(DATA_FOLDERS)
