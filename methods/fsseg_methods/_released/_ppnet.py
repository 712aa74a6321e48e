"""What PPNet's released files share."""

from __future__ import annotations

from fsseg_methods._released._resnet import resnet_names

ENCODER = resnet_names("encoder.")
README = "README of github.com/Xiangyi1996/PPNet-PyTorch"
SEMANTIC = {f"aspp.c{i}": f"semantic.branches.{i}" for i in range(4)}
LISTS = "of the authors: PASCAL-5i from trainaug, with images that their tests show too"


def readme(row: str) -> str:
    """Where the README says that the files of a row are."""
    return f"{README}: Google Drive, row '{row}', a folder for each fold"
