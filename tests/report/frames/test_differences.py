"""Paired differences as a frame: the numbers are those of ``compare``, in percent points."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.report.compare import compare as compare_contenders
from fsseg_bench.report.compare_json import compare_json
from fsseg_bench.report.frames.differences import compare
from fsseg_bench.report.frames.runs import results
from fsseg_bench.report.frames.summary import per_class
from fsseg_bench.report.select import select
from tests.support.pairs import write_pair
from tests.support.runs import write_run


def test_scores_are_those_of_the_other_frames(tmp_path: Path) -> None:
    write_pair(tmp_path, images=9)
    frame = compare("baseline", "biopt", root=tmp_path)
    scores = results(tmp_path).query("resolution == 'input'")
    of_folds = scores.pivot(index=["metric", "fold"], columns="method", values="iou")
    own = frame[frame["scope"] == "fold"].set_index(["metric", "fold"])
    assert own.iou_other.to_dict() == pytest.approx(of_folds.biopt.to_dict())
    assert own.difference.to_dict() == pytest.approx((of_folds.biopt - of_folds.baseline).to_dict())
    overall = frame[frame["scope"] == "overall"].set_index("metric")
    assert overall.iou_baseline.to_dict() == pytest.approx(of_folds.groupby("metric").baseline.mean().to_dict())
    classes = frame[frame["scope"] == "class"].set_index("class_id")
    expected = per_class(tmp_path, method="biopt").set_index("class_id")
    assert classes.iou_other.to_dict() == pytest.approx(expected.iou.to_dict())
    assert classes.class_name.to_dict() == expected.class_name.to_dict()
    assert frame["scope"].value_counts().to_dict() == {"overall": 2, "fold": 8, "class": 8}


def test_intervals_and_p_values_are_those_of_the_json(tmp_path: Path) -> None:
    write_pair(tmp_path, images=9)
    frame = compare("biopt", "baseline", root=tmp_path, resolution="native", shot=1)
    found = compare_contenders(select(["biopt", "baseline"], tmp_path, {}).contenders, resolution="native")
    (method,) = json.loads(compare_json(found))["methods"]
    entries = [method["overall"][m] for m in ("mean", "binary")]
    entries += [own for m in ("mean", "binary") for own in method["by_fold"][m]] + method["by_class"]
    names = {
        "low": "difference_low",
        "high": "difference_high",
        "error": "standard_error",
        "p": "p",
        "p_holm": "p_holm",
    }
    for key, column in names.items():
        assert frame[column].tolist() == pytest.approx([entry[key] for entry in entries]), key
    assert set(frame.baseline) == {"biopt"}
    assert frame.note.eq("").all()
    assert (frame.attrs["interval"], frame.attrs["resolution"], frame.attrs["level"]) == ("images", "native", 0.95)
    assert frame.attrs["folds"] == (1, 2, 3, 4)
    assert frame.attrs["differs"] == {"baseline": ()}


def test_a_difference_without_an_interval_says_why(tmp_path: Path) -> None:
    for method in ("baseline", "panet", "biopt"):
        write_run(tmp_path, method=method)
    frame = compare("baseline", "panet", "biopt", root=tmp_path, interval="episodes", resamples=200, resample_seed=3)
    assert frame.other.unique().tolist() == ["panet", "biopt"]
    assert np.isnan(frame.difference_low).all()
    assert frame.note.str.startswith("no interval: nothing varies between the episodes").all()
    assert frame.difference.eq(0).all()


def test_what_to_compare_is_chosen_as_on_the_command_line(tmp_path: Path) -> None:
    for steps in (5, 10):
        write_run(tmp_path, method="biopt", switches={"steps": steps})
    folder = write_run(tmp_path)
    with pytest.raises(UserError, match=r"runs with 2 different settings fit \(switches.steps: 10 / 5\)"):
        compare("baseline", "biopt", root=tmp_path)
    assert len(compare("baseline", "biopt,steps=5", root=tmp_path))
    frame = compare(folder, "biopt,steps=10", root=tmp_path, where={"recipe.iterations": 100}, way=1, seed=0)
    assert set(frame.other) == {"biopt"}
    with pytest.raises(UserError, match="name a baseline and at least one other"):
        compare("baseline", root=tmp_path)
    with pytest.raises(UserError, match="interval 'image': use one of images, episodes"):
        compare("baseline", "biopt", root=tmp_path, interval="image")  # type: ignore[arg-type]
