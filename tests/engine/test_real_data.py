"""The main job on real images, end to end and small."""

from __future__ import annotations

from pathlib import Path

import pytest

import fsseg_bench

pytestmark = [pytest.mark.real_data, pytest.mark.slow]

VOC12_MINI = Path(__file__).parents[1] / "fixtures" / "voc12-mini.toml"


def weights(test_data: Path) -> str:
    return str(test_data / "weights" / "resnet18_imagenet_layer1-3.pth")


@pytest.mark.parametrize("method", ["baseline", "biopt"])
def test_voc12_mini(test_data: Path, tmp_path: Path, method: str) -> None:
    frame = fsseg_bench.run(
        method,
        VOC12_MINI,
        fold=2,
        backbone="resnet18-layer3",
        weights=weights(test_data),
        data_root=test_data / "data",
        iterations=2,
        episodes=60,
        settings={"recipe.lr": 1e-5, "recipe.batch": 1, "protocol.image.size": 129},
        out=tmp_path,
        device="cpu",
    )
    mean = frame.query("metric == 'mean' and resolution == 'input'").iloc[0]
    assert 15 < mean.iou < 60  # real features: far above an all-background answer, far below perfect
    assert mean.iou_low < mean.iou < mean.iou_high
    assert set(frame.resolution) == {"input", "native"}


@pytest.mark.parametrize("dataset", ["coco20i-a", "coco20i-b"])
def test_coco_mini_2017(test_data: Path, tmp_path: Path, dataset: str) -> None:
    frame = fsseg_bench.run(
        "biopt",
        dataset,
        fold=1,
        backbone="resnet18-layer3",
        weights=weights(test_data),
        data_root=test_data / "data" / "coco-mini",
        iterations=1,
        episodes=150,
        settings={
            "recipe.lr": 1e-5,
            "recipe.batch": 1,
            "protocol.data.year": 2017,
            "protocol.data.train_list": ["train", "val"],
            "protocol.data.test_list": ["train", "val"],  # 500 images in all: rare classes need both
            "protocol.data.train_excludes_test": False,
            "protocol.data.min_object_pixels": 1024,
            "protocol.image.size": 129,
        },
        out=tmp_path,
        device="cpu",
    )
    assert len(frame) == 4
    assert frame.protocol_label.iloc[0].startswith(f"{dataset}[")
    assert frame.iou.between(5, 95).all()
