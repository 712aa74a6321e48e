"""The built-in protocol of generalised segmentation, from a stand-in for VOC with its SBD masks to the report."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fsseg_bench.cli.report import report
from fsseg_bench.cli.run import run
from fsseg_bench.cli.show import show
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.records.generalised import GeneralisedRun, generalised_folders, read_generalised
from tests.support.datasets import save_image, save_mask, write_list

NAME = "gfss-pascal5i-capl"
SIDE, SMALL = 136, 32
NOVEL = range(6, 11)  # fold 2


def test_its_rules_are_capls_on_the_classes_of_pascal5i() -> None:
    """Benchmarks are compared by these values; those of the same name elsewhere (DIaM, POP) have others."""
    rules, pascal = load_protocol(NAME), load_protocol("pascal5i")
    assert (rules.classes, rules.folds) == (pascal.classes, pascal.folds)
    assert rules.data.kind is pascal.data.kind
    assert (rules.data.root, rules.data.options) == (pascal.data.root, pascal.data.options)
    assert (rules.data.novel_in_train, rules.data.min_object_pixels) == ("drop-image", 1)
    assert rules.episodes.seeds == (123, 321, 456, 654, 999)
    assert (rules.episodes.support_pixels, rules.episodes.support_one_novel) == (16 * 32 * 32, True)
    assert (rules.episodes.support_list, rules.episodes.task) == ("train", "generalised")
    assert (rules.image.size, rules.image.resize, rules.image.multiple) == (473, "pad", 8)
    scoring = rules.scoring
    assert (scoring.headline, scoring.background, scoring.overall) == ("native", "base", "all-classes")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each class has one training image that may support it. Novel ones have two more, which may not, and are dropped.

    `few` shows one pixel less than a support needs, `two` another novel class.
    """
    folder = tmp_path_factory.mktemp("generalised")
    voc, rng, lists = (
        folder / "VOCdevkit" / "VOC2012",
        np.random.default_rng(0),
        dict[str, list[str]](trainaug=[], val=[]),
    )
    for c in range(1, 21):
        full = np.zeros((SIDE, SIDE), np.uint8)
        full.ravel()[: 128 * 128] = c
        few, two = full.copy(), full.copy()
        few.ravel()[0] = 0
        two[-1, -1] = 6 if c != 6 else 7
        made = {f"train_{c}": full, f"val_{c}": full.T.copy()}
        if c in NOVEL:
            made |= {f"train_few_{c}": few, f"train_two_{c}": two}
        for name, mask in made.items():
            noise = rng.integers(0, 40, (SIDE, SIDE, 3))
            colours = np.array([37 * c % 200, 91 * c % 200, 53 * c % 200])
            save_image(voc / "JPEGImages" / f"{name}.jpg", (noise + (mask > 0)[..., None] * colours).astype(np.uint8))
            save_mask(voc / "SegmentationClassAug" / f"{name}.png", mask, palette=False)
            lists["val" if name.startswith("val") else "trainaug"].append(name)
    for name, images in lists.items():
        write_list(voc, name, images)
    return folder


@pytest.fixture(scope="module")
def made(root: Path) -> GeneralisedRun:
    asked = f"--method baseline --dataset {NAME} --backbone resnet18-layer1 --weights none --iterations 0 --fold 2"
    small = f"--set protocol.image.size={SMALL} --data-root {root} --out {root / 'runs'}"
    ran = CliRunner().invoke(run, [*asked.split(), *small.split()])
    assert ran.exit_code == 0, ran.output
    assert "mean over all classes" in ran.output
    (folder,) = generalised_folders(root / "runs")
    return read_generalised(folder)


def test_supports_and_base_images_follow_the_rules(made: GeneralisedRun) -> None:
    draws = made.facts["runs"]
    assert [draw["seed"] for draw in draws] == [123, 321, 456, 654, 999]
    assert all(draw["supports"] == {str(c): [f"train_{c}"] for c in NOVEL} for draw in draws)
    base = [c for c in range(1, 21) if c not in NOVEL]
    assert made.facts["base_images"] == {"0": len(base)} | {str(c): 1 for c in base}


def test_every_image_of_val_is_counted_at_its_own_size(made: GeneralisedRun) -> None:
    wanted = [20 * (SIDE**2 - 128**2), *[128**2] * 20]
    for confusion in made.confusions("native"):
        assert confusion.sum(axis=1).tolist() == wanted


def test_report_and_show_have_both_headlines(root: Path, made: GeneralisedRun) -> None:
    told = CliRunner().invoke(report, ["--results", str(root / "runs")])
    assert told.exit_code == 0, told.output
    assert "Headline: mean over all classes." in told.output and "1 of 4 folds" in told.output
    assert "standard deviation over 5 draws 0.00" in told.output  # there is one support a class
    shown = CliRunner().invoke(show, [str(made.folder)])
    assert shown.exit_code == 0, shown.output
    ious = [c[i, i] / (c[i].sum() + c[:, i].sum() - c[i, i]) for c in made.confusions("native")[:1] for i in range(21)]
    novel, base = 100 * np.mean(ious[6:11]), 100 * np.mean([*ious[:6], *ious[11:]])
    assert f"base {base:.2f} %, novel {novel:.2f} %, mean of base and novel {(base + novel) / 2:.2f} %" in shown.output
    assert f"mean over all classes {100 * np.mean(ious):.2f} %" in shown.output
