"""Weight files: damaged, hostile, missing, and fetched from a server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.nn import weights
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.weight_files import published_file, read_file, weights_folders
from fsseg_bench.nn.weights import load_weights
from tests.support.weights import SMALL, assert_filled, published_resnet18, refusal, small_trunk


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights of this machine's user are found, and no proxy stands before the local server."""
    monkeypatch.delenv("FSSEG_WEIGHTS", raising=False)
    monkeypatch.setenv("FSSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    return published_resnet18()


@pytest.fixture(scope="module")
def trunk() -> dict[str, Tensor]:
    return small_trunk()


# --- files that are no weights ---


def test_a_pipe_is_no_weight_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.pth")
    assert "not a regular file" in refusal(tmp_path / "w.pth")


class _Hostile:
    """Unpickled carelessly, it makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_pickles_are_not_run(zipped: bool, trunk: dict[str, Tensor], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = tmp_path / "hostile.pth"
    torch.save({**trunk, "extra": _Hostile(trace)}, path, _use_new_zipfile_serialization=zipped)
    text = refusal(path)
    assert "mkdir" in text
    assert "can run any code" in text
    assert not trace.exists()
    # the file is dangerous indeed
    torch.load(path, weights_only=False)
    assert trace.exists()


@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_truncated_files(kind: str, trunk: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / ("cut.safetensors" if kind == "safetensors" else "cut.pth")
    small = {key: tensor for key, tensor in trunk.items() if tensor.ndim == 1}
    if kind == "safetensors":
        safetensors.torch.save_file(small, path)
    else:
        torch.save(small, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    for share in (0, 0.001, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        assert "truncated" in refusal(path)


@pytest.mark.parametrize("name", ["text.pth", "text.pt", "text.safetensors"])
def test_files_of_another_kind(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("these are not the weights you are looking for\n" * 20)
    assert "truncated" in refusal(tmp_path / name)


@pytest.mark.parametrize("content", [[1, 2], {}, torch.ones(3), {"state_dict": {"epoch": 1}}])
def test_files_without_named_tensors(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "empty.pth")
    assert "no named tensors" in refusal(tmp_path / "empty.pth")


def test_the_kind_is_not_the_name(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(3.0)}
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").rename(tmp_path / "a.pth")
    torch.save(tensors, tmp_path / "b.pth")
    (tmp_path / "b.pth").rename(tmp_path / "b.safetensors")
    for name in ("a.pth", "b.safetensors"):
        assert torch.equal(read_file(tmp_path / name)["a"], tensors["a"])


def test_where_tensors_are_is_said(tmp_path: Path) -> None:
    torch.save({"ema": {"a": torch.ones(2)}, "epoch": 1}, tmp_path / "ema.pth")
    assert "but 'ema' in it do" in refusal(tmp_path / "ema.pth")


def test_paths_that_name_no_file(tmp_path: Path) -> None:
    (tmp_path / "resnet18_mine.pth").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    (tmp_path / "bare").mkdir()
    message = f"resnet18-mine.pth: no such file. Did you mean 'resnet18_mine.pth'? Weight files in {tmp_path}: resn"
    assert message in refusal(tmp_path / "resnet18-mine.pth")
    assert "this is a folder; name a file in it: resnet18_mine.pth" in refusal(tmp_path)
    assert "holds no weight file" in refusal(tmp_path / "bare")
    assert "no such file" in refusal(tmp_path / "absent" / "x.pth")
    assert ".pt, .pth, .safetensors" in refusal(tmp_path / "notes.txt")
    assert "no such file" in refusal(tmp_path / ("x" * 400 + ".pth"))
    assert "Did you mean 'imagenet'" in refusal("imagenett")


# --- published files ---


@pytest.mark.parametrize("place", ["FSSEG_WEIGHTS", "cache", "torch hub"])
def test_published_weights_are_found_on_disk(
    place: str, published: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSSEG_WEIGHTS", str(tmp_path / "own"))
    folders = {
        "FSSEG_WEIGHTS": tmp_path / "own",
        "cache": tmp_path / "cache" / "weights",
        "torch hub": tmp_path / "torch" / "hub" / "checkpoints",
    }
    assert weights_folders() == tuple(folders.values())
    folders[place].mkdir(parents=True)
    file = _publish(published, folders[place], monkeypatch)
    backbone = build_backbone(SMALL)
    info = load_weights(backbone, "imagenet")
    assert_filled(backbone, published)
    assert info.source == "ResNet18_Weights.IMAGENET1K_V1"
    assert info.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert info.details["file"] == file.name


def test_a_file_that_is_not_what_its_name_promises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSSEG_WEIGHTS", str(tmp_path))
    (tmp_path / "resnet18-f37072fd.pth").write_bytes(b"half a download")
    text = refusal("imagenet")
    assert "resnet18-f37072fd.pth is not the published file" in text


def _publish(content: Mapping[str, Tensor], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes a weight file under a name with its own hash, as if it were torchvision's ResNet-18."""
    torch.save(dict(content), folder / "new.pth")
    digest = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()
    file = (folder / "new.pth").rename(folder / f"resnet18-{digest[:8]}.pth")
    monkeypatch.setattr(weights, "official_url", lambda _enum: f"https://nowhere.invalid/{file.name}")
    return file


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.files``: path to (status, body, declared length)."""

    def do_GET(self) -> None:
        status, body, length = self.server.files.get(self.path, (404, b"", 0))
        self.server.requests.append(self.path)
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    running.files = {}
    running.requests = []
    running.address = f"http://127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def test_published_weights_are_downloaded_once(
    server: Any, trunk: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "server").mkdir()
    file = _publish(trunk, tmp_path / "server", monkeypatch)
    body = file.read_bytes()
    server.files[f"/{file.name}"] = (200, body, len(body))
    monkeypatch.setattr(weights, "official_url", lambda _enum: f"{server.address}/{file.name}")
    for _ in range(2):
        backbone = build_backbone(SMALL)
        info = load_weights(backbone, "imagenet")
        assert_filled(backbone, trunk)
        assert info.digest == hashlib.sha256(body).hexdigest()
    assert server.requests == [f"/{file.name}"]
    assert [entry.name for entry in (tmp_path / "cache" / "weights").iterdir()] == [file.name]


@pytest.mark.parametrize("fault", ["wrong content", "404", "truncated", "no server", "no space for the cache"])
def test_failed_downloads(server: Any, fault: str, tmp_path: Path) -> None:
    body = b"weights" * 1000
    prefix = hashlib.sha256(body).hexdigest()[:8]
    name = f"resnet18-{prefix}.pth"
    address = server.address
    if fault == "wrong content":
        server.files[f"/{name}"] = (200, body[::-1], len(body))
    elif fault == "truncated":
        server.files[f"/{name}"] = (200, body[:100], len(body))
    elif fault == "no server":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{free.getsockname()[1]}"
    elif fault == "no space for the cache":
        server.files[f"/{name}"] = (200, body, len(body))
        (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(UserError) as caught:
        published_file(name, f"{address}/{name}", prefix)
    text = str(caught.value)
    assert f"cannot download {name} from {address}/{name}" in text
    assert f"begins with {prefix}" in text
    assert all(str(folder) in text for folder in weights_folders())
    cache = tmp_path / "cache" / "weights"
    assert not cache.is_dir() or not list(cache.iterdir())


def test_a_good_answer_of_the_same_server(server: Any) -> None:
    """What the failures above are compared with."""
    body = b"weights" * 1000
    prefix = hashlib.sha256(body).hexdigest()[:8]
    server.files["/w.pth"] = (200, body, len(body))
    assert published_file("w.pth", f"{server.address}/w.pth", prefix).read_bytes() == body
