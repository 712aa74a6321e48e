"""Base and novel classes labelled at once, from the data to the report, against loops over pixels."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from PIL import Image

from fsseg_bench.cli.report import report
from fsseg_bench.cli.run import run
from fsseg_bench.cli.show import show
from fsseg_bench.data.index import build_index
from fsseg_bench.data.loading import load_image, query_label
from fsseg_bench.data.open import open_source
from fsseg_bench.engine.generalised.images import labelled_images, support_candidates
from fsseg_bench.engine.generalised.run import run_generalised
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.outline import outline
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.records.generalised import IMAGES_FILE, read_generalised
from fsseg_bench.records.info import RecordError
from fsseg_bench.records.request import RunRequest
from tests.support.datasets import label_map, scenes, write_protocol, write_voc

TASK = 'task = "generalised"\ncount = 0\nclass_sampling = "each-image"\n'


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data in VOC's layout, 2 images of each of 8 classes a list, and the protocol ``tiny.toml``."""
    folder = tmp_path_factory.mktemp("generalised")
    write_voc(folder / "tiny-voc", train=2, val=2)
    protocol(folder, "tiny")
    return folder


def protocol(folder: Path, name: str, episodes: str = "", scoring: str = "", **values: Any) -> Path:
    path = write_protocol(folder / f"{name}.toml", **values)
    text = path.read_text(encoding="utf-8").replace("tiny-voc", name, 1)
    text = text.replace('count = 20\nseed = 7\nclass_sampling = "uniform"\n', f"{TASK}seed = [1, 2]\n{episodes}")
    path.write_text(text.replace("[scoring]\n", f"[scoring]\n{scoring}"), encoding="utf-8")
    return path


def asked(folder: Path, name: str = "tiny", **options: Any) -> RunRequest:
    wanted: dict[str, Any] = {
        "backbone": "resnet18-layer1",
        "weights": "none",
        "iterations": 0,
        "fold": 2,
        "out": str(folder / "runs"),
    }
    wanted["dataset"] = str(folder / f"{name}.toml")
    return RunRequest("baseline", **{**wanted, **options})


@pytest.fixture(scope="module")
def made(data: Path) -> Path:
    return run_generalised(asked(data))


def features_of(request: RunRequest) -> dict[str, Any]:
    rules = load_protocol(request.dataset)
    source = open_source(rules)
    method, _ = outline(request).built(6)
    model = InferenceModel.of(request, method, torch.device("cpu"))
    images = (image for name in ("train", "val") for image in source.ids(name))
    return {image: model.encode([load_image(source, image, 32)])[0] for image in images}


def test_every_count_against_loops(data: Path, made: Path) -> None:
    """Vectors: features upsampled to the mask, averaged there, averaged over images; scores: 20 times the cosine."""
    request = asked(data)
    rules = load_protocol(request.dataset)
    source, novel, every = open_source(rules), (3, 4), tuple(range(1, 9))
    features = features_of(request)
    labels = {image: query_label(source, image, every, 32) for image in features}

    def vector(image: str, place: int, labels: np.ndarray) -> torch.Tensor:
        large = F.interpolate(features[image][None], (32, 32), mode="bilinear", align_corners=False)[0]
        where = [(y, x) for y, x in product(range(32), range(32)) if labels[y, x] == place]
        return torch.stack([large[:, y, x] for y, x in where]).sum(dim=0) / (len(where) + 1e-5)

    vectors = {}
    for place in (0, 1, 2, 5, 6, 7, 8):
        shown = []
        for image in (i for i in features if i.startswith("train")):
            own = np.where(np.isin(labels[image], novel), 0, labels[image])  # novel pixels are background
            shown += [vector(image, place, own)] if (own == place).any() else []
        vectors[place] = torch.stack(shown).mean(dim=0)
    found = read_generalised(made)
    for draw, confusion in zip(found.facts["runs"], found.confusions("input"), strict=True):
        for c in novel:
            supports = [vector(image, c, labels[image]) for image in draw["supports"][str(c)]]
            vectors[c] = torch.stack(supports).mean(dim=0)
        bank = torch.stack([vectors[place] for place in range(9)])
        wanted = np.zeros((9, 9), np.int64)
        for image in (i for i in features if i.startswith("val")):
            cosines = torch.einsum("gc,chw->ghw", F.normalize(bank, dim=1), F.normalize(features[image], dim=0))
            predicted = F.interpolate(20 * cosines[None], (32, 32), mode="bilinear")[0].argmax(dim=0).numpy()
            for label, own in zip(labels[image].ravel(), predicted.ravel(), strict=True):
                if label != 255:
                    wanted[label, own] += 1
        assert wanted.sum() == confusion.sum()
        assert np.abs(wanted - confusion).sum() <= 20  # of 16 x 1,024 pixels: where two scores are all but equal
        assert (np.diag(confusion) > 0).sum() > 4


def test_native_counts_have_the_pixels_of_the_labels(made: Path) -> None:
    wanted = np.zeros(256, np.int64)
    for scene in scenes("val", 2):
        wanted += np.bincount(label_map(scene).ravel(), minlength=256)
    for confusion in read_generalised(made).confusions("native"):
        assert confusion.sum(axis=1).tolist() == wanted[:9].tolist()


def test_the_record_says_supports_labels_and_both_headlines(data: Path, made: Path) -> None:
    facts = json.loads((made / "generalised.json").read_text(encoding="utf-8"))
    assert facts["labels"][:5] == ["background", "anchor", "barrel", "candle", "drum"]
    assert [one["seed"] for one in facts["runs"]] == [1, 2]
    assert set(facts["runs"][0]["supports"]) == {"3", "4"}
    scores = facts["runs"][0]["native"]["scores"]
    assert list(scores) == ["base", "novel", "mean of base and novel", "mean over all classes"]
    found = read_generalised(made)
    for size in ("input", "native"):
        assert [one[size]["confusion"] for one in facts["runs"]] == [c.tolist() for c in found.confusions(size)]
        for terms, whole in zip(found.terms(size), found.confusions(size), strict=True):
            assert terms.shape == (16, 3, 9)
            sums = terms.sum(axis=0)
            assert [*map(list, sums)] == [list(np.diag(whole)), list(whole.sum(axis=1)), list(whole.sum(axis=0))]
    assert run_generalised(asked(data)) == made


def test_supports_of_the_test_list_are_not_labelled(data: Path) -> None:
    protocol(data, "diam", 'support_list = "test"\n', 'background = "apart"\n')
    found = read_generalised(run_generalised(asked(data, "diam")))
    lines = [json.loads(line) for line in (found.folder / IMAGES_FILE).read_text(encoding="utf-8").splitlines()]
    for i, draw in enumerate(found.facts["runs"]):
        supports = {image for images in draw["supports"].values() for image in images}
        assert {line["image"] for line in lines if line["input"][i] is None} == supports
        assert all(image.startswith("val") for image in supports)


def test_padding_is_void_and_native_counts_are_of_the_image_alone(data: Path) -> None:
    """40 x 30 pixels fill 32 x 24 of the square."""
    path = protocol(data, "padded")
    path.write_text(path.read_text(encoding="utf-8").replace('"squash"', '"pad"'), encoding="utf-8")
    found = read_generalised(run_generalised(asked(data, "padded")))
    wanted = {"input": np.zeros(256, np.int64), "native": np.zeros(256, np.int64)}
    for scene in scenes("val", 2):
        label = label_map(scene)
        small = np.asarray(Image.fromarray(label).resize((32, 24), Image.Resampling.NEAREST))
        wanted["input"] += np.bincount(small.ravel(), minlength=256)
        wanted["native"] += np.bincount(label.ravel(), minlength=256)
    for confusion in found.confusions("input"):
        assert confusion.sum(axis=1).tolist() == wanted["input"][:9].tolist()
    for confusion in found.confusions("native"):
        assert confusion.sum(axis=1).tolist() == wanted["native"][:9].tolist()


def test_which_images_may_support(data: Path) -> None:
    """Image 1 of a class shows 64 pixels of the next one; 2, 3, 4, 5 are the classes around fold 2 (3 and 4)."""
    wanted = {
        "": {3: ["train_c2_1", "train_c3_0", "train_c3_1"], 4: ["train_c3_1", "train_c4_0", "train_c4_1"]},
        "support_pixels = 65\n": {3: ["train_c3_0", "train_c3_1"], 4: ["train_c4_0", "train_c4_1"]},
        "support_one_novel = true\n": {3: ["train_c2_1", "train_c3_0"], 4: ["train_c4_0", "train_c4_1"]},
    }
    for i, (episodes, found) in enumerate(wanted.items()):
        rules = load_protocol(protocol(data, f"candidates{i}", episodes))
        index = build_index(open_source(rules), rules)
        assert support_candidates(index, 2) == {c: tuple(images) for c, images in found.items()}
    assert len(labelled_images(open_source(rules), rules)) == 16


def test_run_report_and_show(data: Path, made: Path) -> None:
    options = ["--backbone", "resnet18-layer1", "--weights", "none", "--iterations", "0", "--out", str(data / "runs")]
    ran = CliRunner().invoke(run, ["--method", "baseline", "--dataset", str(data / "tiny.toml"), *options])
    assert ran.exit_code == 0, ran.output
    for text in (ran.output, CliRunner().invoke(report, ["--results", str(data / "runs")]).output):
        assert "mean of base and novel" in text and "mean over all classes" in text
        assert text.count("| baseline") >= 5  # four folds and their mean
        assert "Headline: mean over all classes." in text
        assert "standard deviation over 2 draws" in text
    told = CliRunner().invoke(show, [str(made)])
    assert told.exit_code == 0, told.output
    facts = json.loads((made / "generalised.json").read_text(encoding="utf-8"))
    value = 100 * facts["runs"][1]["input"]["scores"]["mean of base and novel"]
    assert f"mean of base and novel {value:.2f} %" in told.output


def test_what_the_task_has_not_is_refused(data: Path) -> None:
    with pytest.raises(UserError, match="without episodes"):
        make_plan(asked(data))
    refused: list[tuple[dict[str, Any], str]] = [
        ({"iterations": 5}, "nothing is trained"),
        ({"way": 2}, "leave out --way"),
        ({"scales": (0.7, 1.0)}, "leave out --scales"),
        ({"episodes": "3"}, "without episodes"),
    ]
    for options, words in refused:
        with pytest.raises(UserError, match=words):
            run_generalised(asked(data, **options))
    with pytest.raises(UserError, match="panet does not label base and novel classes at once"):
        run_generalised(RunRequest("panet", str(data / "tiny.toml"), iterations=0, backbone="resnet18-layer1"))
    plain = write_protocol(data / "plain.toml")
    with pytest.raises(UserError, match="has episodes"):
        run_generalised(RunRequest("baseline", str(plain), iterations=0, backbone="resnet18-layer1", weights="none"))


def test_a_changed_record_makes_no_number(data: Path, made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "runs" / "one"
    copy.mkdir(parents=True)
    for name in ("generalised.json", IMAGES_FILE):
        (copy / name).write_bytes((made / name).read_bytes())
    (copy / IMAGES_FILE).write_text((made / IMAGES_FILE).read_text().replace("val_c1_0", "val_c1_9"))
    with pytest.raises(RecordError, match="is not what the run has written"):
        read_generalised(copy).confusions("input")
    told = CliRunner().invoke(report, ["--results", str(tmp_path / "runs")])
    assert "1 skipped: " in str(told.exception) and "is not what the run has written" in str(told.exception)


@pytest.mark.real_data
@pytest.mark.slow
def test_real_photos_have_the_pixels_of_their_masks(test_data: Path, tmp_path: Path) -> None:
    """voc12-mini: nine base classes, three novel ones, the other eight are background; masks read by Pillow alone."""
    file = Path(__file__).parents[1] / "fixtures" / "voc12-mini-generalised.toml"
    small = {"protocol.image.size": 65, "protocol.episodes.seed": "7"}
    made = run_generalised(
        asked(tmp_path, dataset=str(file), data_root=str(test_data / "data"), fold=1, settings=small, no_check=True)
    )
    found = read_generalised(made)
    assert found.labels.novel == (5, 7, 8)
    assert [found.facts["labels"][i] for i in found.labels.novel_places] == ["bottle", "car", "cat"]
    root = test_data / "data" / "voc12-mini"
    names = (root / "ImageSets" / "Segmentation" / "val.txt").read_text().split()
    histogram = np.zeros(256, np.int64)
    for name in names:
        histogram += np.bincount(
            np.asarray(Image.open(root / "SegmentationClass" / f"{name}.png")).ravel(), minlength=256
        )
    wanted = [histogram[c] for c in found.labels.classes]
    background = histogram[:21].sum() - sum(wanted)
    for confusion in found.confusions("native"):
        assert confusion.sum(axis=1).tolist() == [background, *wanted]
    assert all(len(set(images)) == 1 for draw in found.facts["runs"] for images in draw["supports"].values())
