"""INSID3: masks on cells by hand, positional directions, votes, void and empty supports, several ways, memory."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fsseg_bench.engine.build import build_method
from fsseg_bench.engine.inference import normalise
from fsseg_bench.engine.predict.predictor import Predictor
from fsseg_bench.errors import UserError
from fsseg_bench.method import Episode, Prediction
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_methods import insid3
from fsseg_methods._insid3 import Shot, _quantile, find_candidates, object_cells
from fsseg_methods._positional import Basis, Positions, number_of_directions, positional_basis, unit_cells
from fsseg_methods.insid3 import INSID3
from tests.support.heads import TinyBackbone, make


def _mask(size: tuple[int, int], *boxes: tuple[slice, slice]) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    for rows, columns in boxes:
        mask[rows, columns] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "cells"),
    [
        (_mask((64, 64), (slice(7, 9), slice(7, 9))), [(0, 0)]),  # the four pixels in the middle of a cell
        (_mask((64, 64), (slice(23, 24), slice(23, 25)), (slice(24, 25), slice(23, 24))), [(1, 1)]),  # three of them
        (_mask((64, 64), (slice(32, 33), slice(16, 17))), [(2, 1)]),  # none, but the pixel that is nearest
        (_mask((64, 64), (slice(33, 35), slice(17, 20))), [(2, 1)]),  # neither: the mean position
        (_mask((64, 64), (slice(1, 3), slice(1, 3)), (slice(49, 51), slice(33, 35))), [(1, 1)]),  # of both together
        (_mask((64, 64), (slice(23, 25), slice(7, 9)), (slice(1, 2), slice(1, 60))), [(1, 0)]),
        (_mask((64, 64)), []),
        (_mask((67, 67), (slice(66, 67), slice(66, 67))), [(3, 3)]),  # beyond the last cell of 16 pixels
        (_mask((79, 79), (slice(57, 59), slice(57, 59))), [(2, 2)]),  # cells of 19.75 pixels: 39.5 to 59.25
    ],
)
def test_the_cells_of_a_mask(mask: Tensor, cells: list[tuple[int, int]]) -> None:
    assert [tuple(cell) for cell in object_cells(mask, (4, 4)).nonzero().tolist()] == cells


# --- positions ---


def _unit(*shape: int, seed: int = 0) -> Tensor:
    return unit_cells(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("shape", [(12, 5, 4), (30, 4, 3)])
def test_the_basis_is_that_of_a_singular_value_decomposition(shape: tuple[int, int, int]) -> None:
    """Also where there are more channels than cells."""
    empty = _unit(*shape)
    centred = empty.flatten(1).numpy().astype(np.float64)
    centred -= centred.mean(axis=1, keepdims=True)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    found = positional_basis(empty, 4)
    projection = (found.directions @ found.directions.mT).numpy()
    np.testing.assert_allclose(projection, left[:, :4] @ left[:, :4].T, atol=1e-6)
    assert found.share == pytest.approx((values[:4] ** 2).sum() / (values**2).sum())
    assert found.gap == pytest.approx(values[4] / values[3])


@pytest.mark.parametrize(
    ("channels", "cells", "wanted", "expected"),
    [
        *((1024, 4096, None, 500), (768, 4096, None, 375), (384, 676, None, 187), (1024, 676, None, 329)),
        *((8, 1, None, 0), (1024, 4096, 500, 500), (384, 4096, 0, 0), (384, 4096, 383, 383)),
    ],
)
def test_how_many_directions(channels: int, cells: int, wanted: int | None, expected: int) -> None:
    assert number_of_directions(channels, cells, wanted) == expected


@pytest.mark.parametrize(("channels", "cells", "most"), [(384, 4096, 384), (1024, 400, 399), (384, 501, 384)])
def test_what_would_remove_everything_is_refused(channels: int, cells: int, most: int) -> None:
    with pytest.raises(UserError, match=rf"directions=500 would remove everything: .*vary in {most} directions"):
        number_of_directions(channels, cells, 500)
    with pytest.raises(UserError, match=r"directions=6 would remove everything: .* has 6 channels"):
        make(INSID3, TinyBackbone(6), directions=6)


class _Counting(TinyBackbone):
    calls = 0

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        self.calls += 1
        return super().forward(images)


def test_a_basis_is_computed_once_for_a_size_and_state() -> None:
    backbone, positions = _Counting(), Positions()
    first = positions.of(backbone, (64, 64), 2)
    assert positions.of(backbone, (64, 64), 2) is first
    positions.of(backbone, (64, 80), 2)
    assert backbone.calls == 2
    assert backbone.training, "as it was"
    assert copy.deepcopy(positions).of(backbone, (64, 64), 2) is not first
    with torch.no_grad():
        backbone.conv.weight.mul_(torch.linspace(0.5, 2, 8))
    changed = positions.of(backbone, (64, 64), 2)
    assert changed is not first
    assert positions.of(backbone, (64, 64), 2) is changed
    backbone.load_state_dict(backbone.state_dict())
    assert positions.of(backbone, (64, 64), 2) is not changed


def test_the_basis_is_of_a_black_image_and_no_part_of_the_state() -> None:
    """A backbone with padding knows where the border is."""
    method = build_method("insid3", "resnet18-layer2", "none", directions=3).eval()
    assert isinstance(method, INSID3)
    backbone = method.backbone
    black = torch.zeros(1, 3, 80, 64)
    black -= torch.tensor(backbone.mean).view(3, 1, 1)
    black /= torch.tensor(backbone.std).view(3, 1, 1)
    expected = positional_basis(unit_cells(backbone(black))[0].detach(), 3).directions
    found = method._basis((80, 64)).directions
    torch.testing.assert_close(found @ found.mT, expected @ expected.mT)
    assert method.state_dict().keys() == {f"backbone.{name}" for name in backbone.state_dict()}


# --- the method, on cells of a few directions ---

GRID, SIZE = (6, 6), (96, 96)
GROUND, TRUNK, CROWN, OTHER = range(4)


def _image(seed: int, *parts: tuple[int, slice, slice], noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """(C, h, w) cells near one direction a part, and the parts (h, w)."""
    kinds = torch.full(GRID, GROUND)
    for part, rows, columns in parts:
        kinds[rows, columns] = part
    # trunk and crown have half of their direction in common
    directions = torch.eye(12)[[0, 1, 2, 3]] + torch.tensor([0.0, 1, 1, 0])[:, None] * torch.eye(12)[4]
    cells = directions[kinds].permute(2, 0, 1)
    drawn = torch.randn(12, *GRID, generator=torch.Generator().manual_seed(seed))
    return unit_cells(cells + noise * drawn), kinds


QUERY = ((TRUNK, slice(0, 3), slice(0, 3)), (CROWN, slice(3, 6), slice(0, 2)), (OTHER, slice(4, 6), slice(4, 6)))
SUPPORTS = (
    ((TRUNK, slice(0, 2), slice(0, 4)), (OTHER, slice(4, 6), slice(0, 2))),
    ((TRUNK, slice(2, 5), slice(1, 4)),),
    ((OTHER, slice(0, 2), slice(0, 2)), (TRUNK, slice(4, 6), slice(2, 6))),
)


def _masks(kinds: Tensor, part: int, void: int | None = None) -> Tensor:
    """(H, W) uint8: a part is the class, another void."""
    mask = (kinds == part).to(torch.uint8)
    if void is not None:
        mask[kinds == void] = 255
    return mask.repeat_interleave(16, 0).repeat_interleave(16, 1)


def _episode(shots: int = 1, parts: tuple[int, ...] = (TRUNK,), void: int | None = None) -> Episode:
    images = [_image(10 + k, *SUPPORTS[k]) for k in range(shots)]
    support = torch.stack([cells for cells, _ in images]).expand(1, len(parts), shots, 12, *GRID)
    masks = torch.stack([torch.stack([_masks(kinds, part, void) for _, kinds in images]) for part in parts])
    return Episode(support, masks[None], _image(1, *QUERY)[0][None], SIZE, (0,))


def _method(**switches: Any) -> INSID3:
    method = make(INSID3, TinyBackbone(12), **switches).eval()
    nothing = Basis(torch.zeros(12, 0), 0.0, 0.0)
    method._basis = lambda size: nothing  # type: ignore[method-assign]
    return method


def _labels(found: Prediction) -> Tensor:
    return found.logits.argmax(dim=1)[0]


KINDS = _image(1, *QUERY)[1]
TREE = (KINDS == TRUNK) | (KINDS == CROWN)


def test_the_object_is_found_and_noted() -> None:
    """The support shows a trunk; the crown, alike by one half, comes with it: 0.5 * 0.5 * 1 is above the threshold."""
    found = _method().predict(_episode())
    assert torch.equal(_labels(found), TREE.long())
    assert torch.equal(_labels(_method(threshold=0.3).predict(_episode())), (KINDS == TRUNK).long())
    numbers = {name: value.tolist() for name, value in found.diagnostics.items()}
    assert numbers["candidates"] == [15]
    assert numbers["clusters"] == [4]
    assert (numbers["kept_clusters"], numbers["empty"]) == ([2], [0])
    assert 0.9 < numbers["seed_similarity"][0] <= 1
    assert numbers["directions"] == [0]


@pytest.mark.parametrize("shots", [1, 2, 3])
def test_supports_without_the_object_are_left_out(shots: int) -> None:
    episode = _episode(3)
    masks = episode.support_masks.clone()
    masks[:, :, shots:] = 0
    emptied = _method().predict(dataclasses.replace(episode, support_masks=masks))
    fewer = _method().predict(_episode(shots))
    torch.testing.assert_close(emptied.logits, fewer.logits)
    for name, value in fewer.diagnostics.items():
        torch.testing.assert_close(emptied.diagnostics[name], value)


def test_no_support_with_the_object_is_background_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    episode = _episode(2)
    monkeypatch.setattr(insid3, "clusters_of", lambda *_: pytest.fail("nothing is clustered"))
    found = _method().predict(dataclasses.replace(episode, support_masks=episode.support_masks * 0))
    assert not _labels(found).any()
    assert found.logits.isfinite().all()
    assert {name: found.diagnostics[name].item() for name in ("candidates", "clusters", "empty")} == {
        "candidates": 0,
        "clusters": 0,
        "empty": 1,
    }


@pytest.mark.parametrize("count", [1, 2, 10, 11, 308])
def test_the_quantile_is_torchs(count: int) -> None:
    values = torch.randn(count, generator=torch.Generator().manual_seed(count))
    assert torch.equal(_quantile(values, 0.9), torch.quantile(values, 0.9))


@pytest.mark.parametrize(("shots", "least"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_a_candidate_needs_half_of_the_votes(shots: int, least: int) -> None:
    """A query cell between the object and the ground; ``agreeing`` shots have an object cell that is nearer to it."""
    cell = torch.tensor([[1.0], [1.0]]) / 2**0.5
    ground, nearer, farther = torch.tensor([0.1, 1.0]), torch.tensor([1.0, 0.5]), torch.tensor([1.0, 0.0])
    for agreeing in range(shots + 1):
        pairs = [torch.stack((nearer if k < agreeing else farther, ground), dim=1) for k in range(shots)]
        shown, labelled = torch.tensor([True, False]), torch.tensor([True, True])
        made = [Shot(pair / pair.norm(dim=0), shown, labelled) for pair in pairs]
        found = find_candidates(cell, made)
        assert found.votes.item() == agreeing
        assert found.chosen.item() is (agreeing >= least)


def test_void_cells_are_compared_with_nothing() -> None:
    """Of a support whose other object is void: what stands there is of no account, unless it is to be background."""
    episode = _episode(void=OTHER)
    assert isinstance(episode.support, Tensor)
    kinds = _image(10, *SUPPORTS[0])[1]
    changed = torch.where(kinds == OTHER, _image(1, *QUERY)[0][:, :1, :1], episode.support)  # like a trunk of the query
    other = dataclasses.replace(episode, support=changed)
    for void_in_bg in (False, True):
        method = _method(void_in_bg=void_in_bg)
        before, after = method.predict(episode), method.predict(other)
        assert (before.diagnostics["candidates"] != after.diagnostics["candidates"]).item() is void_in_bg
        assert void_in_bg or torch.equal(before.logits, after.logits)


def test_a_void_pixel_is_no_object() -> None:
    episode = _episode()
    void = torch.where(episode.support_masks == 1, 255, 0).to(torch.uint8)
    assert not _labels(_method().predict(dataclasses.replace(episode, support_masks=void))).any()


def test_of_several_ways_the_highest_score_wins() -> None:
    episode = _episode(3, parts=(OTHER, TRUNK))
    found = _method().predict(episode)
    assert torch.equal(_labels(found), TREE * 2 + (KINDS == OTHER) * 1)
    assert found.diagnostics["candidates"].shape == (1, 2)
    swapped = _method().predict(_episode(3, parts=(TRUNK, OTHER)))
    assert torch.equal(_labels(swapped), TREE * 1 + (KINDS == OTHER) * 2)
    twice = _method().predict(_episode(1, parts=(TRUNK, TRUNK)))
    assert torch.equal(_labels(twice), TREE.long()), "of equal ones the first"
    assert torch.equal(twice.logits.sum(dim=1), torch.ones(1, *GRID)), "a cell is of one class"


@pytest.mark.parametrize("parts", [(TRUNK,), (OTHER, TRUNK)])
def test_soft_logits_keep_the_same_cells(parts: tuple[int, ...]) -> None:
    hard, soft = (_method(soft=soft).predict(_episode(3, parts=parts)) for soft in (False, True))
    assert torch.equal(_labels(hard), _labels(soft))
    assert len(soft.logits.unique()) > 3


def test_tau_is_a_similarity() -> None:
    """Trunk and crown are alike by one half: they are one cluster below that."""
    numbers = [_method(tau=tau).predict(_episode()).diagnostics["clusters"].item() for tau in (-1, 0.4, 0.6, 0.9999)]
    assert numbers == [1, 3, 4, 36]


class _Largest(TorchDispatchMode):
    """Sees how many numbers the largest tensor has that is made within it."""

    seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.seen = max(self.seen, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


def test_similarities_of_one_support_at_a_time() -> None:
    episode, method = _episode(3, parts=(TRUNK, OTHER)), _method()
    cells = 24 * 24
    wide = torch.nn.functional.interpolate(episode.query, size=(24, 24))
    support = episode.support
    assert isinstance(support, Tensor)
    supports = torch.nn.functional.interpolate(support.flatten(0, 2), size=(24, 24)).view(1, 2, 3, 12, 24, 24)
    episode = dataclasses.replace(episode, query=wide, support=supports)
    with torch.no_grad(), _Largest() as largest:
        method.predict(episode)
    assert largest.seen == cells**2


@torch.no_grad()
def test_another_size_of_the_query_has_positions_of_its_own() -> None:
    torch.manual_seed(0)
    method = make(INSID3, build_backbone("resnet18-layer2")).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    query = method.encode(torch.randn(1, 3, 48, 80, generator=torch.Generator().manual_seed(1)))
    masks = _masks(_image(10, *SUPPORTS[0])[1], TRUNK)[:64, :64].expand(1, 1, 2, 64, 64)
    found = method.predict(Episode(method.encode(images)[None, None], masks, query, (48, 80), (0,)))
    assert found.logits.shape == (1, 2, 6, 10)
    assert {key[0] for key in method._positions._known} == {(48, 80), (64, 64)}
    assert found.diagnostics["directions"].item() == int((60 - 1) * 500 / 1024)


def test_photos_from_three_examples_on_a_transformer(tmp_path: Path) -> None:
    """``Predictor`` without any run, with a file of weights: as encoding and predicting step by step."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    safetensors.torch.save_file(timm.create_model("test_vit").state_dict(), tmp_path / "weights.safetensors")
    options = {"backbone": "timm:test_vit", "weights": str(tmp_path / "weights.safetensors")}
    predictor = Predictor(method="insid3", size=96, **options)  # type: ignore[arg-type]
    random = np.random.RandomState(0)
    images = [random.randint(0, 256, (96, 96, 3), dtype=np.uint8) for _ in range(4)]
    masks = [_masks(_image(10 + k, *SUPPORTS[k])[1], TRUNK).numpy() for k in range(3)]
    predictor.set_support(images[:3], masks)
    found = predictor.predict(images[3])
    method = build_method("insid3", **options).eval()
    assert isinstance(method, INSID3)
    with torch.no_grad():
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        cells = method.encode(normalise(pixels, method.backbone, torch.device("cpu")))
        episode = Episode(cells[None, None, :3], torch.from_numpy(np.stack(masks))[None, None], cells[3:], SIZE, (0,))
        logits = method.predict(episode).logits
    assert cells.shape == (4, 64, *GRID)
    assert np.array_equal(found.mask, resize(logits, SIZE).argmax(dim=1)[0].numpy())
    assert 0 < found.mask.mean() < 1
