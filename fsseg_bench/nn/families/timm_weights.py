"""Weights of timm's models: where the published ones are, and files in the names of those who published them first."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fsseg_bench.errors import NotHereError, UserError
from fsseg_bench.nn.families import efficientnet
from fsseg_bench.nn.families.timm_models import INSTALL
from fsseg_bench.nn.weight_files import weights_folders

_COUNTER = "num_batches_tracked"
_HUB_FILE = "model.safetensors"
_FIXED = ("pos_embed", "patch_embed.proj.weight")


def published(model: nn.Module) -> str | None:
    """Model and tag of the published weights (``vit_small_patch14_dinov2.lvd142m``); None: there are none."""
    given: Any = model.pretrained_cfg
    if not given.get("hf_hub_id") or not given.get("tag"):
        return None
    return f"{given['architecture']}.{given['tag']}"


def published_file(model: nn.Module, name: str) -> Path:
    """The file ``NAME.TAG.safetensors`` in a folder of weights, else the one of the Hugging Face hub.

    Raises:
        NotHereError: it is neither here nor can be downloaded.
    """
    wanted = f"{name}.safetensors"
    for folder in weights_folders():
        if (folder / wanted).is_file():
            return folder / wanted
    given: Any = model.pretrained_cfg
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(given["hf_hub_id"], given.get("hf_hub_filename") or _HUB_FILE))
    except ImportError as error:
        reason = f"huggingface_hub cannot be imported ({error}): {INSTALL}"
    except Exception as error:  # noqa: BLE001 - the client raises errors of its own and those of two libraries below it
        reason = f"{type(error).__name__}: {error}"
    folders = "\n  ".join(map(str, weights_folders()))
    raise NotHereError(
        f"cannot download {_HUB_FILE} of {given['hf_hub_id']}: {reason}.\nPut the file, as {wanted}, into one of these "
        f"folders (FSSEG_WEIGHTS names one more):\n  {folders}\nor give it by --weights FILE"
    )


def own_names(model: nn.Module, given: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors of a file by timm's names, in which timm converts files of others; else as they are.

    Raises:
        UserError: the file holds biases that the model lacks, or positions or patches of another size.
    """
    wanted = [key for key in model.state_dict() if not key.endswith(_COUNTER)]
    if all(key in given for key in wanted):
        return dict(given)
    if efficientnet.is_theirs(given) and hasattr(model, "conv_stem"):
        return efficientnet.timm_names(model, given)
    _check_biases(model, given, name)
    convert = _converter(model)
    if convert is None:
        return dict(given)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it leaves out
            found: dict[str, Tensor] = convert(dict(given), model)
    except Exception:  # noqa: BLE001 - a file of something else: the comparison of names says so
        return dict(given)
    for key in _FIXED:
        before, after = given.get(key), found.get(key)
        if before is not None and after is not None and _count(before) - _count(after) not in {0, 1}:
            raise UserError(
                f"the file does not fit {name}: {key} has shape {tuple(before.shape)} and would have to be resized to "
                f"{tuple(after.shape)}, which is not done in silence"
            )
    return found


def _converter(model: nn.Module) -> Any:
    module = next(cls.__module__ for cls in type(model).__mro__ if cls.__module__.startswith("timm."))
    return getattr(sys.modules[module], "checkpoint_filter_fn", None)


def _check_biases(model: nn.Module, given: Mapping[str, Tensor], name: str) -> None:
    """timm leaves biases of query and value out where its model has none: right only where they are zero."""
    own = dict(model.named_parameters())
    for key, bias in given.items():
        block, dot, last = key.rpartition("qkv.bias")
        if not dot or last or f"{block}qkv.weight" not in own or {f"{block}q_bias", key} & own.keys():
            continue
        query, _, value = bias.chunk(3)
        if bool(query.any()) or bool(value.any()):
            raise UserError(
                f"the file does not fit {name}: {key} is not zero, and this model has no such bias; use the model "
                "whose name ends in _qkvb"
            )


def _count(tensor: Tensor) -> int:
    """Positions, or pixels of a patch."""
    return tensor.shape[1] if tensor.ndim == 3 else tensor.shape[-1] * tensor.shape[-2]
