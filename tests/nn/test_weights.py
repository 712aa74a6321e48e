"""Weight files: good, wrong, hostile, and fetched from a server on this machine."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.nn import weights
from fsseg_bench.nn.backbones import Backbone, build_backbone
from fsseg_bench.nn.catalogue import BACKBONES
from fsseg_bench.nn.weight_files import published_file, weights_folders
from fsseg_bench.nn.weights import load_weights

SMALL = "resnet18-layer2"


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights of this machine's user are found, and no proxy stands before the local server."""
    monkeypatch.delenv("FSSEG_WEIGHTS", raising=False)
    monkeypatch.setenv("FSSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """A whole ResNet-18 as torchvision publishes it, with random numbers."""
    torch.manual_seed(3)
    network = torchvision.models.resnet18()
    for key, tensor in network.state_dict().items():
        if "running" in key:
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim == 0:
            tensor.fill_(5)
    return network.state_dict()


@pytest.fixture
def trunk(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """What ``SMALL`` needs of it."""
    return {key: tensor for key, tensor in published.items() if not key.startswith(("layer3", "layer4", "fc"))}


def _assert_filled(backbone: Backbone, expected: Mapping[str, Tensor]) -> None:
    for key, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, expected[key]), key


def _refused(path: Path | str, name: str = SMALL) -> str:
    """The message, after a check that the backbone is as it was."""
    backbone = build_backbone(name)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_weights(backbone, str(path))
    _assert_filled(backbone, before)
    return str(caught.value)


# --- files that fit ---


def test_none_keeps_the_random_numbers() -> None:
    backbone = build_backbone(SMALL)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    assert load_weights(backbone, "none").as_dict() == {"source": "none", "digest": "none", "details": {}}
    _assert_filled(backbone, before)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_kinds_of_files(suffix: str, trunk: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / f"mine{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(trunk, path)
    else:
        torch.save(trunk, path)
    backbone = build_backbone(SMALL)
    info = load_weights(backbone, str(path))
    _assert_filled(backbone, trunk)
    assert json.loads(json.dumps(info.as_dict())) == {
        "source": str(path),
        "digest": hashlib.sha256(path.read_bytes()).hexdigest(),
        "details": {"file": path.name, "tensors": len(trunk), "unused": [], "missing": []},
    }


@pytest.mark.parametrize("nested", [(), ("state_dict",), ("model",), ("model_state_dict",), ("model", "state_dict")])
@pytest.mark.parametrize("prefix", ["", "module.", "module.module."])
def test_wrapped_files(nested: tuple[str, ...], prefix: str, trunk: dict[str, Tensor], tmp_path: Path) -> None:
    content: dict[str, Any] = {prefix + key: tensor for key, tensor in trunk.items()}
    for key in nested:
        content = {"epoch": 3, key: content, "optimizer": {"lr": 0.1}}
    torch.save(content, tmp_path / "wrapped.pth")
    backbone = build_backbone(SMALL)
    load_weights(backbone, str(tmp_path / "wrapped.pth"))
    _assert_filled(backbone, trunk)


def test_old_torch_files(trunk: dict[str, Tensor], tmp_path: Path) -> None:
    """Some published weights are still in the format before zip."""
    torch.save(trunk, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    backbone = build_backbone(SMALL)
    load_weights(backbone, str(tmp_path / "old.pth"))
    _assert_filled(backbone, trunk)


def test_half_precision_becomes_float32(trunk: dict[str, Tensor], tmp_path: Path) -> None:
    halves = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in trunk.items()}
    torch.save(halves, tmp_path / "half.pth")
    backbone = build_backbone(SMALL)
    load_weights(backbone, str(tmp_path / "half.pth"))
    _assert_filled(backbone, {key: tensor.to(trunk[key].dtype) for key, tensor in halves.items()})
    assert backbone.conv1.weight.dtype == torch.float32


def test_classifier_and_later_stages_are_left_out(published: dict[str, Tensor], tmp_path: Path) -> None:
    counters = [key for key in published if key.endswith("num_batches_tracked")]
    torch.save({key: t for key, t in published.items() if key not in counters}, tmp_path / "whole.pth")
    backbone = build_backbone(SMALL)
    details = load_weights(backbone, str(tmp_path / "whole.pth")).details
    own = backbone.state_dict()
    for key, tensor in own.items():
        if key not in counters:
            assert torch.equal(tensor, published[key])
    assert details["unused"] == sorted(published.keys() - own.keys() - set(counters))
    assert {"fc.weight", "fc.bias", "layer3.0.conv1.weight"} < set(details["unused"])
    assert details["missing"] == sorted(key for key in counters if key in own)


# --- files that do not fit ---


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer1.0.conv1.weight": None}, r"layer1.0.conv1.weight: missing"),
        ({"bn1.running_var": None}, r"bn1.running_var: missing"),
        ({"conv1.weight": torch.ones(64, 1, 7, 7)}, r"conv1.weight: shape (64, 1, 7, 7), needed (64, 3, 7, 7)"),
        ({"bn1.bias": torch.full((64,), torch.nan)}, r"bn1.bias: holds NaN or infinity"),
        ({"bn1.bias": torch.ones(64, dtype=torch.int8)}, r"bn1.bias: torch.int8"),
        ({"bn1.bias": torch.ones(64).to_sparse()}, r"needed dense"),
        ({"conv1.bias": torch.ones(64)}, r"conv1.bias: the backbone has no such layer"),
        ({"layer2.2.conv1.weight": torch.ones(3)}, r"layer2.2.conv1.weight: the backbone has no such layer"),
    ],
)
def test_a_mismatch_that_matters_is_refused(
    change: dict[str, Tensor | None], message: str, trunk: dict[str, Tensor], tmp_path: Path
) -> None:
    changed = {key: tensor for key, tensor in {**trunk, **change}.items() if tensor is not None}
    torch.save(changed, tmp_path / "changed.pth")
    text = _refused(tmp_path / "changed.pth")
    assert message in text
    assert SMALL in text


def test_deeper_networks_do_not_pass_for_shallower_ones(tmp_path: Path) -> None:
    """Every shape of ResNet-50's trunk occurs in ResNet-101 under the same name."""
    torch.save(build_backbone("resnet101-layer3").state_dict(), tmp_path / "deep.pth")
    text = _refused(tmp_path / "deep.pth", "resnet50-layer3")
    assert "layer3.6.conv1.weight: the backbone has no such layer" in text
    assert "--backbone" not in text


def test_the_fitting_cut_is_named(trunk: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(trunk, tmp_path / "short.pth")
    for name in ("resnet18", "resnet18-layer3"):
        text = _refused(tmp_path / "short.pth", name)
        assert "layer3.0.conv1.weight: missing" in text
        assert "--backbone resnet18-layer2" in text
    torch.save({"conv1.weight": torch.ones(1)}, tmp_path / "nothing.pth")
    assert "--backbone" not in _refused(tmp_path / "nothing.pth")


# --- files that are no weights ---


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
    text = _refused(path)
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
        assert "truncated" in _refused(path)


@pytest.mark.parametrize("name", ["text.pth", "text.pt", "text.safetensors"])
def test_files_of_another_kind(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("these are not the weights you are looking for\n" * 20)
    assert "truncated" in _refused(tmp_path / name)


@pytest.mark.parametrize("content", [[1, 2], {}, torch.ones(3), {"state_dict": {"epoch": 1}}])
def test_files_without_named_tensors(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "empty.pth")
    assert "no named tensors" in _refused(tmp_path / "empty.pth")


def test_paths_that_name_no_file(tmp_path: Path) -> None:
    (tmp_path / "resnet18_mine.pth").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    (tmp_path / "bare").mkdir()
    assert "'resnet18_mine.pth'" in _refused(tmp_path / "resnet18-mine.pth")
    assert "this is a folder; name a file in it: resnet18_mine.pth" in _refused(tmp_path)
    assert "holds no weight file" in _refused(tmp_path / "bare")
    assert "no such file" in _refused(tmp_path / "absent" / "x.pth")
    assert ".pt, .pth, .safetensors" in _refused(tmp_path / "notes.txt")
    assert "no such file" in _refused(tmp_path / ("x" * 400 + ".pth"))
    assert "Did you mean 'imagenet'" in _refused("imagenett")


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
    _assert_filled(backbone, published)
    assert info.source == "ResNet18_Weights.IMAGENET1K_V1"
    assert info.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert info.details["file"] == file.name


def test_a_file_that_is_not_what_its_name_promises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSSEG_WEIGHTS", str(tmp_path))
    (tmp_path / "resnet18-f37072fd.pth").write_bytes(b"half a download")
    text = _refused("imagenet")
    assert "resnet18-f37072fd.pth is not the published file" in text


def _publish(content: Mapping[str, Tensor], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes a weight file under a name with its own hash, as if it were torchvision's ResNet-18."""
    torch.save(dict(content), folder / "new.pth")
    digest = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()
    file = (folder / "new.pth").rename(folder / f"resnet18-{digest[:8]}.pth")
    facts = dataclasses.replace(BACKBONES[SMALL], weights_file=file.name)
    monkeypatch.setattr(weights, "BACKBONES", {**BACKBONES, SMALL: facts})
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
        _assert_filled(backbone, trunk)
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


# --- the real file ---


@pytest.mark.real_data
def test_the_real_resnet18(test_data: Path) -> None:
    path = test_data / "weights" / "resnet18_imagenet_layer1-3.pth"
    backbone = build_backbone("resnet18-layer3")
    info = load_weights(backbone, str(path))
    content = torch.load(path, weights_only=True)
    _assert_filled(backbone, content)
    assert info.details["missing"] == []
    assert {key.partition(".")[0] for key in info.details["unused"]} == {"fc", "layer4"}
    text = _refused(path, "resnet18")
    assert "layer4.0.conv1.weight: missing" in text
    assert "--backbone resnet18-layer3" in text
