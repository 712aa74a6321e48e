import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fsseg_bench.errors import LockedError, UserError
from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.records import run as module
from fsseg_bench.records.info import RunInfo, run_folder
from fsseg_bench.records.provenance import provenance
from fsseg_bench.records.run import RunRecord
from tests.support.runs import TWO_EPISODES, edit_info, request, row, settings, write_run


def create(root: Path, *, fresh: bool = False, **changes: object) -> RunRecord:
    return RunRecord.create(root, settings(**changes), request(dataset="toy", fold=2, fresh=fresh), folds=4)


def full_disk(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class TestFolder:
    def test_layout(self, tmp_path: Path):
        digest = settings(fold=3, way=2, shot=5, seed=7).identity
        folder = run_folder(tmp_path, settings(fold=3, way=2, shot=5, seed=7))
        assert folder == tmp_path / "toy" / "baseline-resnet18" / "2way-5shot" / f"fold3-seed7-{digest[:8]}"
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["../../etc", "/abs", "a/b", "", "..", "a b\n"])
    def test_names_stay_inside_the_root(self, tmp_path: Path, name: str):
        folder = run_folder(tmp_path, settings(method=name, protocol=name))
        assert folder.resolve().is_relative_to(tmp_path.resolve())
        assert len(folder.relative_to(tmp_path).parts) == 4


class TestCreate:
    def test_a_new_record(self, tmp_path: Path):
        with create(tmp_path) as record:
            assert record.status == "new"
            assert record.folder == run_folder(tmp_path, settings())
        info = json.loads((record.folder / "run.json").read_text())
        assert info == record.info.document
        assert info["schema"] == 2
        assert info["identity"] == settings().identity
        assert info["settings"] == settings().to_json()
        assert info["passed"] == {"dataset": "toy", "fold": 2}
        assert info["provenance"]["python"] == sys.version.split()[0]
        assert (info["timings"], info["diagnostics"], info["scores"]) == ({}, {}, {})

    def test_the_same_run_is_reopened_with_its_logs(self, tmp_path: Path):
        with create(tmp_path) as record, record.episode_log() as log:
            record.update(status="evaluating")
            log.append(row(0, TWO_EPISODES[0]))
        with create(tmp_path) as again, again.episode_log() as log:
            assert again.folder == record.folder
            assert again.status == "evaluating"
            assert log.rows == 1

    def test_resuming_notes_what_changed_in_the_software(self, tmp_path: Path, monkeypatch):
        create(tmp_path).close()
        then = module.provenance()
        monkeypatch.setattr(module, "provenance", lambda: then | {"python": "9.9"})
        with create(tmp_path) as record:
            assert [entry["changed"] for entry in record.info.resumed] == [[f'python: "{then["python"]}" / "9.9"']]
            assert record.info.provenance.python == then["python"]

    def test_resuming_notes_where(self, tmp_path: Path, monkeypatch):
        def session(host: str, process: int, job: str | None, device: str, threads: int) -> RunInfo:
            then = provenance() | {"host": host, "process": process, "job": job}
            monkeypatch.setattr(module, "provenance", lambda: then)
            with RunRecord.create(tmp_path, settings(), request(), folds=4, threads=threads, device=device) as record:
                return record.info

        begun = session("ash", 7, None, "cpu: model A", 4).provenance
        assert (begun.host, begun.process, begun.job, begun.device, begun.threads) == (
            "ash",
            7,
            None,
            "cpu: model A",
            4,
        )
        same, other = session("ash", 8, "slurm 5", "cpu: model A", 4), session("elm", 7, "slurm 6_1", "card B", 2)
        times = [entry["time"] for entry in other.resumed]
        assert other.resumed == (
            {"time": times[0], "host": "ash", "process": 8, "job": "slurm 5", "device": "cpu: model A", "changed": []},
            {
                "time": times[1],
                "host": "elm",
                "process": 7,
                "job": "slurm 6_1",
                "device": "card B",
                "changed": ['device: "cpu: model A" / "card B"', 'host: "ash" / "elm"', "threads: 4 / 2"],
            },
        )
        assert (same.devices, other.devices) == (("cpu: model A",), ("cpu: model A", "card B"))
        assert (same.cpu_threads, other.cpu_threads) == (4, 4)

    def test_a_record_that_does_not_say_where_it_was_begun_goes_on(self, tmp_path: Path):
        """Of an earlier version."""
        with create(tmp_path) as record:
            folder, earlier = record.folder, record.info.document["provenance"]
        new = ("host", "process", "job", "device")
        edit_info(folder, provenance={key: value for key, value in earlier.items() if key not in new})
        with RunRecord.create(tmp_path, settings(), request(), folds=4, device="cpu: model A") as record:
            assert [entry["changed"] for entry in record.info.resumed] == [[]]
            assert record.info.cpu_threads is None

    def test_a_finished_run_is_not_touched(self, tmp_path: Path):
        folder = write_run(tmp_path)
        before = tree(folder)
        with create(tmp_path) as record:
            assert record.status == "done"
        assert tree(folder).keys() == before.keys()
        assert tree(folder)["run.json"] == before["run.json"]

    def test_other_settings_make_another_folder(self, tmp_path: Path):
        with create(tmp_path) as first, create(tmp_path, precision="bf16") as second:
            assert first.folder != second.folder
            assert first.folder.parent == second.folder.parent

    def test_another_identity_in_the_folder_is_refused_with_both(self, tmp_path: Path, monkeypatch):
        """The first eight digits collide: the same folder name for two runs."""
        folder = write_run(tmp_path)
        before = tree(folder)
        other = settings(recipe={"iterations": 200, "lr": 0.001})
        monkeypatch.setattr(module, "run_folder", lambda root, given: folder)
        with pytest.raises(UserError) as caught:
            RunRecord.create(tmp_path, other, request(), folds=4)
        message = str(caught.value)
        for part in (str(folder), settings().identity, other.identity, "--fresh"):
            assert part in message
        assert "recipe.iterations: 100 / 200" in message
        assert tree(folder).keys() == before.keys()
        assert tree(folder)["run.json"] == before["run.json"]
        create(tmp_path).close()  # the refusal gave the lock back

    @pytest.mark.parametrize("change", [("{", "["), ('"precision": "fp32"', '"precision": "bf16"')])
    def test_an_unusable_record_is_refused_and_kept(self, tmp_path: Path, change: tuple[str, str]):
        path = write_run(tmp_path) / "run.json"
        path.write_text(content := path.read_text().replace(*change))
        with pytest.raises(UserError, match=r"run\.json: .*Nothing was changed\. --fresh moves that folder aside"):
            create(tmp_path)
        assert path.read_text() == content

    def test_files_without_a_record_are_refused_but_an_empty_folder_is_new(self, tmp_path: Path):
        folder = run_folder(tmp_path, settings())
        folder.mkdir(parents=True)
        (folder / ".run.json.1-abc.tmp").write_text("left by a kill before the first rename")
        create(tmp_path).close()
        assert sorted(p.name for p in folder.iterdir()) == [".lock", "run.json"]
        (folder / "run.json").unlink()
        (folder / "checkpoint.pt").write_text("x")
        with pytest.raises(UserError, match=r"holds files but no run\.json"):
            create(tmp_path)

    def test_what_a_kill_left_is_tidied_in_panels_too(self, tmp_path: Path):
        with create(tmp_path) as record:
            panels = record.folder / "panels"
            panels.mkdir()
            (panels / ".episode-0001.png.7-abc.tmp").write_text("torn")
            (panels / "episode-0002.png").write_text("whole")
        with create(tmp_path):
            assert [path.name for path in panels.iterdir()] == ["episode-0002.png"]

    def test_fresh_moves_aside_and_deletes_nothing(self, tmp_path: Path):
        folder = write_run(tmp_path)
        before = tree(folder)
        for n in (1, 2):
            with create(tmp_path, fresh=True) as record:
                assert record.folder == folder
                assert record.status == "new"
                assert not record.episodes_path.exists()
            assert folder.with_name(f"{folder.name}.old-{n}").is_dir()
        kept = tree(folder.with_name(f"{folder.name}.old-1"))
        assert {name: kept[name] for name in before if not name.startswith(".lock")} == {
            name: data for name, data in before.items() if not name.startswith(".lock")
        }

    def test_fresh_on_nothing_moves_nothing(self, tmp_path: Path):
        with create(tmp_path, fresh=True) as record:
            assert [p.name for p in record.folder.parent.iterdir()] == [record.folder.name]

    def test_fresh_helps_where_the_record_is_unusable(self, tmp_path: Path):
        folder = write_run(tmp_path)
        (folder / "run.json").write_text("{")
        with create(tmp_path, fresh=True) as record:
            assert record.status == "new"
        assert (folder.with_name(f"{folder.name}.old-1") / "run.json").read_text() == "{"

    def test_two_writers(self, tmp_path: Path):
        with create(tmp_path) as record:
            for fresh in (False, True):
                with pytest.raises(UserError, match="another process is writing"):
                    create(tmp_path, fresh=fresh)
            assert record.folder.is_dir()
        create(tmp_path).close()

    def test_a_root_that_is_a_file_and_a_full_disk(self, tmp_path: Path, monkeypatch):
        (tmp_path / "file").write_text("x")
        with pytest.raises(UserError, match="cannot be written"):
            create(tmp_path / "file")
        monkeypatch.setattr(os, "fsync", full_disk)
        with pytest.raises(UserError, match=r"run\.json: the disk is full"):
            create(tmp_path / "root")
        monkeypatch.undo()
        create(tmp_path / "root").close()


class TestUpdate:
    def test_merges_one_level_and_is_on_disk(self, tmp_path: Path):
        with create(tmp_path) as record:
            record.update(timings={"train": 1.0, "evaluate": 2.0}, device="cpu")
            record.update(timings={"evaluate": 3.0}, scores={"a": {"b": 1}}, reason=None)
            info = json.loads((record.folder / "run.json").read_text())
        assert info["timings"] == {"train": 1.0, "evaluate": 3.0}
        assert info["scores"] == {"a": {"b": 1}}
        assert (info["device"], info["reason"]) == ("cpu", None)
        assert info == record.info.document

    @pytest.mark.parametrize("field", ["settings", "identity", "schema", "passed", "provenance", "episodes"])
    def test_what_never_changes(self, tmp_path: Path, field: str):
        with create(tmp_path) as record, pytest.raises(ValueError, match=f"never change: {field}"):
            record.update(**{field: {}})

    def test_done_seals_the_episode_log(self, tmp_path: Path):
        folder = write_run(tmp_path)
        data = (folder / "episodes.jsonl").read_bytes()
        info = json.loads((folder / "run.json").read_text())
        assert info["episodes"] == {"count": 2, "sha256": hashlib.sha256(data).hexdigest()}
        line = b'{"episode":0,"classes":[1],"input":[60,10,10,20],"native":[60,10,10,20],"check":"'
        assert data.splitlines()[0].startswith(line)

    def test_a_log_that_no_report_would_take_is_never_called_done(self, tmp_path: Path):
        for bad in (row(1, TWO_EPISODES[0]), row(0, ((9,), (1, 2, 3, 4))), row(0, TWO_EPISODES[0]) | {"input": "x"}):
            with create(tmp_path, seed=len(str(bad))) as record:
                with record.episode_log() as log:
                    log.append(bad)
                with pytest.raises(UserError, match=r"episodes\.jsonl: "):
                    record.update(status="done")
                assert record.status == "new"

    def test_done_needs_the_classes_of_the_runs_episodes(self, tmp_path: Path):
        table = EpisodeTable(classes=((1,), (2,)), queries=("a", "b"), supports=((("c",),), (("d",),)))
        with create(tmp_path, episode_digest=table.digest) as record:
            record.keep_table(table)
            with record.episode_log() as log:
                log.append(row(0, TWO_EPISODES[0]))
                with pytest.raises(UserError, match="not the 2 episodes of the run"):
                    record.update(status="done")
                log.append(row(1, TWO_EPISODES[1]))
            record.update(status="done")

    def test_notes_of_what_was_mended_stay(self, tmp_path: Path):
        create(tmp_path).close()
        with create(tmp_path) as record:
            record.note("row 3")
            record.note("row 5")
        info = json.loads((record.folder / "run.json").read_text())
        assert [entry.get("mended") for entry in info["resumed"]] == [["row 3", "row 5"]]

    def test_unknown_status_and_done_without_episodes(self, tmp_path: Path):
        with create(tmp_path) as record:
            with pytest.raises(ValueError, match="'finished' is not one of new, training"):
                record.update(status="finished")
            with pytest.raises(ValueError, match="a finished run has episodes"):
                record.update(status="done")
            assert record.status == "new"

    def test_a_full_disk_keeps_record_and_memory_in_step(self, tmp_path: Path, monkeypatch):
        with create(tmp_path) as record:
            monkeypatch.setattr(os, "fsync", full_disk)
            with pytest.raises(UserError, match="the disk is full"):
                record.update(status="training")
            monkeypatch.undo()
            assert record.status == "new"
            assert json.loads((record.folder / "run.json").read_text())["status"] == "new"


def test_killed_between_update_and_append_and_reopened(tmp_path: Path):
    """A SIGKILL while the record is written leaves one that reopens and goes on with whole rows."""
    code = """
import sys
from pathlib import Path
from fsseg_bench.records.run import RunRecord
from tests.support.runs import TWO_EPISODES, request, row, settings
record = RunRecord.create(Path(sys.argv[1]), settings(), request(), folds=4)
log = record.episode_log()
for i in range(10**6):
    log.append({**row(i, TWO_EPISODES[0]), "diagnostics": {"long": list(range(2000))}})
    record.update(status="evaluating", timings={"evaluate_episodes": i})
    if i == 3:
        print("go", flush=True)
"""
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"go\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with create(tmp_path) as record, record.episode_log() as log:
            assert record.status == "evaluating"
            assert 0 <= log.rows - 1 - record.info.timings.evaluate_episodes <= 1
            assert not [p for p in record.folder.iterdir() if p.suffix == ".tmp"]
        record.episodes_path.unlink()


def test_a_record_that_another_machine_took_over_is_not_written_any_more(tmp_path: Path) -> None:
    """As after a long suspension: the note of its lock is gone, and there is the other one's."""
    record = create(tmp_path)
    with record.episode_log() as log:
        log.append(row(0, TWO_EPISODES[0]))
        note = record.folder / ".lock-1"
        note.rename(record.folder / ".lock-2")
        record._lock._note.look()  # what the next beat does
        before = record.episodes_path.read_bytes()
        for write in (lambda: log.append(row(1, TWO_EPISODES[1])), lambda: record.update(status="evaluating")):
            with pytest.raises(LockedError, match=r"another process .* has taken over"):
                write()
    assert record.episodes_path.read_bytes() == before
    assert record.info.status == "new"
    record.close()
