import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.records.lines import read_lines
from fsseg_bench.records.read import RecordError, find_records, read_run, runs_with_other_content
from fsseg_bench.records.run import RunRecord
from fsseg_bench.records.settings import identity_hash
from tests.support.runs import TWO_EPISODES, edit_info, request, row, settings, write_run


def edit(folder: Path, **changes: object) -> None:
    """Changes settings and makes the identity fit again, as a careful forger would."""
    path = folder / "run.json"
    info = json.loads(path.read_text())
    info["settings"].update(changes)
    edit_info(folder, settings=info["settings"], identity=identity_hash(info["settings"]))


def reseal(folder: Path, lines: list[object], separators: tuple[str, str] = (",", ":")) -> None:
    """Replaces the episode log and its seal."""
    import hashlib

    data = "".join(json.dumps(line, separators=separators) + "\n" for line in lines).encode()
    (folder / "episodes.jsonl").write_bytes(data)
    edit_info(folder, episodes={"count": len(lines), "sha256": hashlib.sha256(data).hexdigest()})


class TestReadRun:
    def test_what_was_written_is_read(self, tmp_path: Path):
        native = [(1, 2, 3, 4), (5, 6, 7, 8)]
        folder = write_run(tmp_path, native=native, fold=2)
        run = read_run(folder)
        assert (run.status, run.fold, run.novel) == ("done", 2, (1, 2))
        assert run.info.settings == settings(fold=2)
        counts = run.counts()
        np.testing.assert_array_equal(counts.classes, [[1], [2]])
        np.testing.assert_array_equal(counts.input, [[[60, 10], [10, 20]], [[70, 0], [10, 20]]])
        np.testing.assert_array_equal(counts.native, [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
        assert {counts.classes.dtype, counts.input.dtype, counts.native.dtype} == {np.dtype(np.int64)}

    def test_two_ways(self, tmp_path: Path):
        folder = write_run(tmp_path, [((2, 1), tuple(range(9)))], way=2)
        counts = read_run(folder).counts()
        np.testing.assert_array_equal(counts.classes, [[2, 1]])
        np.testing.assert_array_equal(counts.input, [[[0, 1, 2], [3, 4, 5], [6, 7, 8]]])

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b'{"schema": 1, "set', "truncated or edited"),
            (b"\xff\xfe", "truncated or edited"),
            (b"", "truncated or edited"),
            (b"[]", "not a record of schema 2"),
            (b'{"schema": 99}', "not a record of schema 2"),
            (b'{"schema": 1, "identity": "", "status": "odd", "settings": {}}', 'status is "odd"'),
            (b'{"schema": 1, "identity": "", "status": "done"}', "missing settings"),
            (b'{"schema": 1, "identity": "", "status": "done", "settings": {}}', "missing .*settings.protocol,"),
        ],
    )
    def test_damaged_records_are_named(self, tmp_path: Path, content: bytes, message: str):
        (tmp_path / "run.json").write_bytes(content)
        with pytest.raises(RecordError, match=rf"run\.json: .*{message}"):
            read_run(tmp_path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"fold": "1"}, 'settings.fold is "1"; it must be a whole number'),
            ({"fold": True}, "settings.fold is true"),
            ({"novel": [1, "2"]}, "settings.novel"),
            ({"way": 0}, "settings.way"),
            ({"scales": 1.0}, "settings.scales is 1.0; it must be a list"),
            ({"recipe": []}, "settings.recipe"),
            ({"headline": "both"}, 'settings.headline is "both"; allowed: "input", "native"'),
            ({"scale": 1.0}, "unknown key 'settings.scale'. Did you mean 'settings.scales'"),
        ],
    )
    def test_wrong_settings_are_named(self, tmp_path: Path, change: dict, message: str):
        folder = write_run(tmp_path)
        edit(folder, **change)
        with pytest.raises(RecordError, match=message):
            read_run(folder)

    def test_edited_settings_are_noticed(self, tmp_path: Path):
        folder = write_run(tmp_path)
        path = folder / "run.json"
        path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
        with pytest.raises(RecordError, match="edited: its settings do not have the identity"):
            read_run(folder)

    def test_a_missing_record(self, tmp_path: Path):
        with pytest.raises(RecordError, match=r"run\.json: cannot be read"):
            read_run(tmp_path)


class TestBorder:
    """What no reader has to look at again."""

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"passed": []}, "passed is"),
            ({"passed": {"settings": "x"}}, 'passed.settings is "x"; it must be a table'),
            ({"passed": {"scales": ["1"]}}, r'passed.scales\[0\] is "1"; it must be a number'),
            ({"timings": {"evaluate_seconds": "long"}}, "timings.evaluate_seconds is"),
            ({"timings": 3}, "timings is"),
            ({"diagnostics": [1]}, "diagnostics is"),
            ({"provenance": {"packages": [1]}}, "provenance.packages is"),
            ({"provenance": {"command": 3}}, "provenance.command is"),
            ({"weights": "x"}, "weights is"),
            ({"resumed": {"time": 1}}, "resumed is"),
            ({"reason": 3}, "reason is"),
            ({"scores": {"input": [1]}}, "scores.input is"),
            ({"episodes": {"count": "2", "sha256": ""}}, "episodes.count is"),
            ({"files": {"train.jsonl": 3}}, "files.train.jsonl is"),
        ],
    )
    def test_values_that_no_version_writes(self, tmp_path: Path, changes: dict, message: str):
        folder = write_run(tmp_path)
        edit_info(folder, **changes)
        with pytest.raises(RecordError, match=rf"run\.json: {message}"):
            read_run(folder)

    @pytest.mark.parametrize(
        "text",
        [
            *('"x": ' + "[" * 100_000, '"x": ' + "[" * 40 + "]" * 40, '"x": NaN', '"x": 1e999', '"x": ' + "9" * 5000),
            *('"x": ' + "9" * 30, '"x": "\\ud800"', '"schema": 1', '"x": 1', '"device": "another"'),
        ],
    )
    def test_anything_added_or_changed_shows(self, tmp_path: Path, text: str):
        folder = write_run(tmp_path)
        path = folder / "run.json"
        path.write_text(path.read_text().replace("{", "{" + text + ",", 1))
        with pytest.raises(RecordError, match=r"run\.json: (not valid JSON|edited or damaged)"):
            read_run(folder)

    def test_any_digit_of_what_only_describes_a_run(self, tmp_path: Path):
        folder = write_run(tmp_path, extra={"diagnostics": {"norm": 1.25}})
        path = folder / "run.json"
        path.write_text(path.read_text().replace("1.25", "7.25"))
        with pytest.raises(RecordError, match="edited or damaged: its content does not have the SHA-256 it states"):
            read_run(folder)

    def test_records_of_earlier_versions_have_no_check(self, tmp_path: Path):
        folder = write_run(tmp_path)
        path = folder / "run.json"
        info = json.loads(path.read_text())
        for key in ("check", "files", "lines", "passed", "provenance", "timings", "diagnostics"):
            del info[key]
        path.write_text(json.dumps(info | {"schema": 1}))
        assert read_run(folder).counts().input.shape == (2, 2, 2)


class TestCounts:
    def test_an_unfinished_run_has_none(self, tmp_path: Path):
        folder = write_run(tmp_path, status="evaluating")
        with pytest.raises(RecordError, match=r"the run is not done \(status evaluating\)"):
            read_run(folder).counts()

    def test_edited_truncated_or_missing_logs_are_named(self, tmp_path: Path):
        folder = write_run(tmp_path)
        path = folder / "episodes.jsonl"
        data = path.read_bytes()
        for bad in (data.replace(b"60", b"61"), data[:-10], data + data, b""):
            path.write_bytes(bad)
            with pytest.raises(RecordError, match=r"episodes\.jsonl: changed since the run was done"):
                read_run(folder).counts()
        path.unlink()
        with pytest.raises(RecordError, match=r"episodes\.jsonl: cannot be read"):
            read_run(folder).counts()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"episode": 5}, "not numbered"),
            ({"input": [1, 2, 3]}, "'input' must hold 4 whole numbers"),
            ({"native": [1, 2, 3, -1]}, "'native' must hold 4"),
            ({"input": [1, 2, 3, 4.0]}, "'input' must hold 4"),
            ({"input": [1, 2, 3, 2**50]}, "a count is 281474976710656 or more"),
            ({"input": [1, 2, 3, 2**80]}, "a whole number is too large"),
            ({"input": None}, "'input' must hold 4"),
            ({"classes": [1, 2]}, "'classes' must hold 1"),
            ({"classes": [9]}, "not held out"),
        ],
    )
    def test_rows_that_do_not_fit_are_named(self, tmp_path: Path, change: dict, message: str):
        folder = write_run(tmp_path)
        reseal(folder, [row(0, TWO_EPISODES[0]), row(1, TWO_EPISODES[1]) | change])
        with pytest.raises(RecordError, match=rf"episodes\.jsonl: .*{message}"):
            read_run(folder).counts()

    def test_a_row_that_is_no_object_is_named(self, tmp_path: Path):
        folder = write_run(tmp_path)
        reseal(folder, [[1], row(1, TWO_EPISODES[1])])
        with pytest.raises(UserError, match="line 1: it is not a JSON object"):
            read_run(folder).counts()


def reordered(line: dict) -> dict:
    """The same row with its keys in another order, which the engine never writes."""
    return dict(reversed(line.items()))


class TestTwoWaysToRead:
    @pytest.mark.parametrize("way", [1, 2, 3])
    def test_lines_of_the_engine_and_any_other_json_give_the_same(self, tmp_path: Path, way: int):
        rng = np.random.RandomState(way)
        ways = [[int(c) for c in rng.permutation(5)[:way]] for _ in range(20)]
        counts = [[int(n) for n in rng.randint(0, 2**40, (way + 1) ** 2)] for _ in range(20)]
        folder = write_run(tmp_path, list(zip(ways, counts, strict=True)), way=way, novel=list(range(5)))
        plain = read_run(folder).counts()
        lines = read_lines(folder / "episodes.jsonl")
        reseal(folder, [reordered(line) for line in lines])
        parsed = read_run(folder).counts()
        for one, other, expected in zip(plain[:3], parsed[:3], (ways, counts, counts), strict=True):
            np.testing.assert_array_equal(one, other)
            np.testing.assert_array_equal(one.reshape(20, -1), expected)

    @pytest.mark.parametrize("spaces", [(",", ":"), (", ", ": ")])
    @pytest.mark.parametrize(
        "diagnostics", [{}, {"loss": [0.5, 1e-9, None]}, {"said": 'a}, "native":[9,9,9,9]', "deep": {"x": [{}]}}]
    )
    def test_what_a_method_recorded_is_not_taken_for_counts(self, tmp_path: Path, diagnostics: dict, spaces: tuple):
        folder = write_run(tmp_path)
        reseal(folder, [row(i, e) | {"diagnostics": diagnostics} for i, e in enumerate(TWO_EPISODES)], spaces)
        np.testing.assert_array_equal(read_run(folder).counts().native.reshape(2, 4), [e[1] for e in TWO_EPISODES])

    def test_an_empty_log_has_no_episodes(self, tmp_path: Path):
        folder = write_run(tmp_path)
        reseal(folder, [])
        assert read_run(folder).counts().input.shape == (0, 2, 2)


class TestFindRecords:
    def test_sorted_with_warnings_and_without_folders_moved_aside(self, tmp_path: Path):
        good = [write_run(tmp_path, fold=fold) for fold in (2, 1)]
        broken = write_run(tmp_path, fold=3)
        (broken / "run.json").write_text("{")
        lost = write_run(tmp_path, fold=4)
        (lost / "run.json").unlink()
        shutil.copytree(good[0], good[0].with_name(good[0].name + ".old-1"))
        runs, warnings = find_records(tmp_path)
        assert [run.folder for run in runs] == sorted(good)
        assert [w.path for w in warnings] == sorted([broken, lost])
        assert all(str(w.path) in w.message for w in warnings)

    def test_folders_that_may_not_be_looked_into_are_named(self, tmp_path: Path, monkeypatch):
        """The tests may run as root, who may look into everything: the system's refusal is imitated."""
        good, closed = write_run(tmp_path, fold=1), write_run(tmp_path, method="panet").parent
        scandir = os.scandir

        def refusing(path: object) -> object:
            if Path(str(path)) == closed:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refusing)
        runs, warnings = find_records(tmp_path)
        assert [run.folder for run in runs] == [good]
        assert [warning.message for warning in warnings] == [
            f"{closed}: cannot be looked into, so its records are missing: Permission denied"
        ]

    def test_a_folder_whose_name_no_table_can_hold(self, tmp_path: Path):
        good = write_run(tmp_path, fold=1)
        good.with_name("fold2").mkdir()
        odd = os.fsencode(good.with_name("fold2"))
        shutil.copytree(good, good.with_name("copy"))
        os.rename(good.with_name("copy"), odd + b"\xff")  # noqa: PTH104 - a name of bytes
        runs, warnings = find_records(tmp_path)
        assert [run.folder for run in runs] == [good]
        assert "not valid UTF-8" in warnings[0].message
        assert warnings[0].message.isascii()

    @pytest.mark.parametrize("name", ["run.json", "episodes.jsonl"])
    def test_a_pipe_is_never_waited_for(self, tmp_path: Path, name: str):
        folder = write_run(tmp_path)
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(RecordError, match="not a regular file"):
            read_run(folder).counts()

    def test_nothing_there(self, tmp_path: Path):
        assert find_records(tmp_path) == ((), ())
        with pytest.raises(UserError, match="none: no such results folder"):
            find_records(tmp_path / "none")


def test_records_do_not_import_torch_or_pandas():
    code = (
        "import sys, fsseg_bench.records.run, fsseg_bench.records.read, fsseg_bench.records.provenance as p; "
        "p.provenance(); assert not {'torch', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class TestTable:
    TABLE = EpisodeTable(((1,), (2,)), ("a", "b"), ((("b",),), (("c",),)))

    def stored(self, root: Path) -> Path:
        with RunRecord.create(root, settings(episode_digest=self.TABLE.digest), request(), folds=4) as record:
            record.keep_table(self.TABLE)
        return record.folder

    def test_the_images_of_each_episode_come_back(self, tmp_path: Path):
        assert read_run(self.stored(tmp_path)).table() == self.TABLE

    def test_none_in_records_of_earlier_versions(self, tmp_path: Path):
        folder = self.stored(tmp_path)
        (folder / "episodes.csv").unlink()
        assert read_run(folder).table() is None

    def test_other_episodes_are_refused(self, tmp_path: Path):
        folder = self.stored(tmp_path)
        (folder / "episodes.csv").write_text(self.TABLE.head(1).text())
        with pytest.raises(RecordError, match="not the episodes of the run"):
            read_run(folder).table()

    def test_only_the_runs_own_table_is_kept(self, tmp_path: Path):
        with (
            RunRecord.create(tmp_path, settings(), request(), folds=4) as record,
            pytest.raises(ValueError, match="not that of the settings"),
        ):
            record.keep_table(self.TABLE)


def test_a_stray_file_hides_no_record_below_it(tmp_path: Path):
    folder = write_run(tmp_path)
    (folder.parent.parent / "run.json").write_text("{}")
    runs, warnings = find_records(tmp_path)
    assert [run.folder for run in runs] == [folder]
    assert [warning.path for warning in warnings] == [folder.parent.parent]


def told(root: Path, **changes: object) -> list[str]:
    with RunRecord.create(root, settings(**changes), request(), folds=4) as record:
        return runs_with_other_content(record)


def test_each_kind_of_content_is_named(tmp_path: Path) -> None:
    first = write_run(tmp_path)
    said = "a run with the same settings, but other {}; this one begins anew"
    assert told(tmp_path / "elsewhere") == []
    assert told(tmp_path) == []
    assert told(tmp_path, method_digest="c" * 64) == [f"{first}: {said.format('code')}"]
    words = "data, test images or masks (not noted there)"
    assert f"{first}: {said.format(words)}" in told(tmp_path, data_fingerprint="c" * 64, evaluated_digest="d" * 64)


def test_what_was_given_and_what_is_no_record_is_not_named(tmp_path: Path) -> None:
    first = write_run(tmp_path)
    assert told(tmp_path, method_digest="c" * 64, recipe={"iterations": 5}) == []
    assert told(tmp_path, method_digest="c" * 64, seed=1) == []
    first.rename(first.with_name(first.name + ".old-1"))
    broken = write_run(tmp_path, method_digest="d" * 64)
    (broken / "run.json").write_text(json.dumps({"schema": 1}))
    assert told(tmp_path, method_digest="e" * 64) == []
