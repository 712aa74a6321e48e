"""Made-up episodes for the contract tests: deterministic, each depending on its own index alone."""

from __future__ import annotations

import torch
from torch import Tensor

from fsseg_bench.engine.checks import ContractError, checked_prediction
from fsseg_bench.engine.inference import fold_features
from fsseg_bench.method import ClassLabels, Episode, Features, History, Method
from fsseg_bench.protocol.streams import seed_of

_SIDE = 65


@torch.no_grad()
def evaluation_episode(
    method: Method,
    *,
    batch: int = 1,
    way: int = 1,
    shot: int = 1,
    masks: Tensor | None = None,
    supports: str = "support",
) -> Episode:
    """Deterministic made-up episodes on the method's device and of its precision; each depends on its own index alone.

    ``masks`` are (B N K, S, S) uint8 and decide the images' side (None: boxes); another name in ``supports`` is other
    images.
    """
    method.eval()
    place = _place(method)
    shape = torch.Size((batch, way, shot))
    masks = (masks_of(shape.numel(), "mask") if masks is None else masks).to(place.device)
    side = masks.shape[-1]
    support = method.encode_support(images_of(shape.numel(), supports, side).to(place), masks)
    query = method.encode(images_of(batch, "query", side).to(place))
    truth = masks_of(batch, "label", side=side).to(place.device) if method.reads_truth else None
    return _assembled(method, shape, masks, (support, query), truth)


def training_episode(method: Method, shot: int = 1, way: int = 1, *, in_corner: bool = False) -> Episode:
    """Two episodes where the method is, encoded as in training; of the first, its sample's history is known.

    ``in_corner``: the supports' objects reach into the first corner.
    """
    place = _place(method)
    shape = torch.Size((2, way, shot))
    supports = shape.numel()
    masks = masks_of(supports, "mask", in_corner=in_corner).to(place.device)
    labels = masks_of(2, "label").to(place.device)
    images, queries = (images_of(count, name).to(place) for count, name in ((supports, "support"), (2, "query")))
    support, query = method.encode_training(images, masks, queries)
    history = None
    if method.keeps_history:
        with torch.no_grad():
            kept = History((None, None))
            method.loss(_assembled(method, shape, masks, (support, query), labels, kept))
        if kept.kept is None:
            raise ContractError("keeps_history is set, but loss never calls episode.history.keep")
        history = History((kept.kept[0], None))
    return _assembled(method, shape, masks, (support, query), labels, history)


@torch.no_grad()
def predicted(method: Method, episode: Episode) -> Tensor:
    """The method's logits in evaluation, checked.

    Raises:
        ContractError: they are of another shape, or ``predict`` fails where it reads the query's labels.
    """
    try:
        return checked_prediction(method.eval().predict(episode), episode)[0]
    except (AttributeError, TypeError) as error:
        names = getattr(type(method).predict, "__code__", None)
        if episode.query_labels is None and names is not None and "query_labels" in names.co_names:
            raise ContractError(
                f"predict reads episode.query_labels, which is None in evaluation ({type(error).__name__}: {error}); "
                "it predicts from the supports alone (of an oracle that is shown them: reads_truth = True)"
            ) from error
        raise


def _assembled(
    method: Method,
    shape: torch.Size,
    masks: Tensor,
    features: tuple[Features, Features],
    labels: Tensor | None = None,
    history: History | None = None,
) -> Episode:
    side = masks.shape[-1]
    masks = masks.view(*shape, side, side)
    return Episode(
        support=fold_features(features[0], shape),
        support_masks=masks,
        query=features[1],
        size=(side, side),
        seeds=tuple(seed_of("check", i) for i in range(shape[0])),
        query_labels=labels,
        class_labels=None if labels is None or not method.reads_class_labels else ClassLabels(masks, labels),
        unlabelled=_unlabelled(method, shape[0], shape[1], side),
        history=history,
    )


def _unlabelled(method: Method, batch: int, way: int, side: int) -> Features | None:
    count = method.unlabelled_images
    if not count:
        return None
    images = images_of(batch * way * count, "unlabelled", side).to(_place(method))
    encoded = method.encode_unlabelled(images)
    return fold_features(encoded, torch.Size((batch, way, count)))


def _place(method: Method) -> Tensor:
    """A parameter: what the method computes on, and in which precision."""
    return next(method.parameters())


def images_of(count: int, name: str, side: int = _SIDE) -> Tensor:
    """Noise (count, 3, side, side); another name, other noise."""
    generator = torch.Generator().manual_seed(seed_of("check", name))
    return torch.randn(count, 3, side, side, generator=generator)


def masks_of(count: int, name: str, *, in_corner: bool = False, side: int = _SIDE) -> Tensor:
    """Boxes of 1 with a border of void, each at its own place, or all in the first corner."""
    masks = torch.zeros(count, side, side, dtype=torch.uint8)
    for i, mask in enumerate(masks):
        top, left = (-2 if in_corner else seed_of("check", name, i, axis) % (_SIDE // 2) for axis in (0, 1))
        mask[max(top, 0) : top + 30, max(left, 0) : left + 30] = 255
        mask[top + 2 : top + 28, left + 2 : left + 28] = 1
    return masks
