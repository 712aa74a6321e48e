"""Files as the authors' code writes them, read as methods: all names, and the outputs of the parity cases."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fsseg_bench.engine.build import build_method
from fsseg_bench.engine.open_run import open_model
from fsseg_bench.engine.released import find_network, import_official
from fsseg_bench.engine.switches import parse_switches
from fsseg_bench.method import Method
from fsseg_bench.nn.backbones import build_backbone, for_shapes
from fsseg_bench.registry import find_method, method_names, released_of
from fsseg_methods._pspnet import PSPNet
from tests.methods import test_bam_parity as bam
from tests.methods import test_canet_parity as canet
from tests.methods import test_fwb_parity as fwb
from tests.methods import test_hsnet_parity as hsnet
from tests.methods import test_mixture_parity as mixtures
from tests.methods import test_panet_parity as panet
from tests.methods import test_pfenet_parity as pfenet
from tests.methods import test_ppnet_parity as ppnet
from tests.methods import test_repri as repri
from tests.methods import test_sgone_parity as sgone
from tests.methods import test_ssp_parity as ssp
from tests.support import golden
from tests.support import golden_trunks as trunks
from tests.support.heads import make
from tests.support.mixture_cases import Case as Mixtures
from tests.support.official import keys, manifest, write_official, write_shapes

pytestmark = pytest.mark.real_data

READ = {
    "panet-vgg16": ("panet", "vgg16"),
    "canet-resnet50": ("canet", "resnet50"),
    "pmms-resnet50": ("pmms", "resnet50"),
    "pmms-vgg16": ("pmms", "vgg16"),
    "rpmms-resnet50": ("rpmms", "resnet50"),
    "sg-one-vgg16": ("sgone", "vgg16"),
    "fwb-vgg16": ("fwb", "vgg16"),
    "fwb-resnet101": ("fwb", "resnet101"),
    "ppnet-panet-star-resnet50": ("panet", "resnet50"),
    "ppnet-part-resnet50": ("ppnet", "resnet50"),
    "ppnet-part-sem-resnet50": ("ppnet", "resnet50"),
    "ppnet-graph-resnet50": ("ppnet-ud", "resnet50"),
    "pfenet-resnet50": ("pfenet", "resnet50-deep"),
    "pfenet-resnet101": ("pfenet", "resnet101-deep"),
    "pfenet-vgg16": ("pfenet", "vgg16-bn"),
    "hsnet-resnet50": ("hsnet", "resnet50"),
    "hsnet-resnet101": ("hsnet", "resnet101"),
    "hsnet-vgg16": ("hsnet", "vgg16"),
    "ssp-resnet50": ("ssp", "resnet50-deep"),
    "ssp-resnet101": ("ssp", "resnet101-deep"),
    "bam-meta-resnet50-pascal": ("bam", "resnet50-deep"),
    "bam-meta-resnet50-coco": ("bam", "resnet50-deep"),
    "bam-meta-vgg16-pascal": ("bam", "vgg16-bn"),
    "bam-meta-vgg16-coco": ("bam", "vgg16-bn"),
    "repri-resnet50-pascal": ("repri", "resnet50-deep"),
    "repri-resnet50-coco": ("repri", "resnet50-deep"),
    "repri-resnet101-pascal": ("repri", "resnet101-deep"),
}
"""The manifests of methods that are here, and what each is recognised as."""


STAGES = {
    f"bam-base-{trunk}-{data}": ("bam", backbone)
    for trunk, backbone in (("resnet50", "resnet50-deep"), ("vgg16", "vgg16-bn"))
    for data in ("pascal", "coco")
}
"""The manifests of networks that are trained before a method."""
FIVE = [name for name in READ if name.startswith("bam-meta")]
"""Those whose files of five shots have more tensors."""
ELSEWHERE = "dinov2"
"""Beginning of the manifests of backbones, which are read as weights."""


def test_every_manifest_is_read(test_data: Path) -> None:
    names = [path.stem for path in (test_data / "manifests").glob("*.json")]
    assert sorted(name for name in names if not name.startswith(ELSEWHERE)) == sorted((READ | STAGES).keys())


@pytest.mark.parametrize(("name", "shots"), [*((name, 1) for name in READ | STAGES), *((name, 5) for name in FIVE)])
def test_a_file_is_recognised_and_every_tensor_has_a_place(
    test_data: Path, tmp_path: Path, name: str, shots: int
) -> None:
    """Both ways: each tensor of the file is used or named as unused, and each of the method is filled from it."""
    listed = manifest(test_data, name)
    numbers = write_shapes(tmp_path / "best.pth", listed, shots=shots)
    imported, kind = import_official(tmp_path / "best.pth")
    origin = imported.origin
    assert (origin.method, origin.backbone) == (READ | STAGES)[name]
    assert origin.stage == ("base" if name in STAGES else "")
    assert origin.switches.get("shots", 1) == shots
    assert origin.counters == 0
    used = {str(kind.own(key)): number for key, number in numbers.items() if key not in origin.unused}
    assert {key: int(tensor.flatten()[0]) for key, tensor in imported.state.items()} == used
    assert all(kind.first(key) or key.startswith(("backbone.fc.", "backbone.classifier.")) for key in origin.unused)
    assert len(used) + len(origin.unused) == len(numbers)
    base = 15 if origin.base_classes is None else origin.base_classes
    assert base == (60 if name.endswith("coco") else 15)
    whole = for_shapes(lambda: build_method(*(READ | STAGES)[name], "none", base_classes=base, **origin.switches))
    missing = {key for key in whole.state_dict() if key not in imported.state}
    assert all(name in STAGES and not key.startswith(("backbone.", "base.")) for key in missing)


PUBLISHED: dict[str, dict[str, Any]] = {
    "panet-vgg16": {"alpha": 20.0},
    "ppnet-panet-star-resnet50": {"alpha": 20.0},
    "canet-resnet50": {"fusion": "average", "refinements": 4},
    "pmms-resnet50": {"components": 3, "kappa": 20.0, "em_iterations": 10},
    "pmms-vgg16": {"components": 3, "kappa": 20.0, "em_iterations": 10},
    "rpmms-resnet50": {"stages": (1, 3, 6), "kappa": 20.0, "em_iterations": 10, "five_shot_ensemble": True},
    "sg-one-vgg16": {"fusion": "avg", "exit_padding": 1},
    "fwb-vgg16": {"boosting": True, "relevance": True, "threshold": 0.8, "steps": 10},
    "fwb-resnet101": {"boosting": True, "relevance": True, "threshold": 0.8, "steps": 10},
    "ppnet-part-resnet50": {"parts": 5, "assignments": 10, "part_weight": 0.8, "semantic_weight": 0.0},
    "ppnet-part-sem-resnet50": {"parts": 5, "assignments": 10, "part_weight": 0.5, "semantic_weight": 0.1},
    "ppnet-graph-resnet50": {"assignments": 20, "part_weight": 0.8, "top": 30, "threshold": 0.5, "group": 2},
    "pfenet-resnet50": {"bins": (60.0, 30.0, 15.0, 8.0)},
    "pfenet-vgg16": {"bins": (1.0, 0.5, 0.25, 0.125)},
    "hsnet-resnet50": {"vote_of": "best", "vote_share": 0.5},
    "hsnet-resnet101": {"vote_of": "best", "vote_share": 0.5},
    "hsnet-vgg16": {"vote_of": "best", "vote_share": 0.5},
    "ssp-resnet50": {"refine": True, "foreground": 0.7, "background": 0.6, "fallback": 12},
    "ssp-resnet101": {"refine": True, "foreground": 0.7, "background": 0.6, "fallback": 12},
    "bam-meta-resnet50-pascal": {"shots": 1},
    "bam-meta-vgg16-coco": {"shots": 1},
}
"""What the published network computes with, from the authors' code, of the switches that move a prediction."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_file_is_evaluated_with_the_switches_of_the_published_network(test_data: Path, name: str) -> None:
    """Set by its table, or the method's defaults."""
    names = [key for key, _, _ in keys(manifest(test_data, name))]
    method, backbone = READ[name]
    (kind,) = (kind for kind in released_of(method) if kind.knows(names) and backbone in kind.backbones)
    values = parse_switches(method, find_method(method), kind.switches)
    assert {switch: values[switch] for switch in PUBLISHED[name]} == PUBLISHED[name]


def test_one_name_leads_to_one_table(test_data: Path) -> None:
    """No file is of two kinds by its names alone."""
    kinds = [(method, kind) for method in method_names() for kind in released_of(method)]
    for name, (method, _) in (READ | STAGES).items():
        own = [key for key, _, _ in keys(manifest(test_data, name))]
        assert [owner for owner, kind in kinds if kind.knows(own)] == [method], name


def opened(test_data: Path, folder: Path, name: str, case: str) -> Method:
    """The method of a file with the numbers of a parity case, opened as a user does it."""
    data = golden.load(test_data / "golden", case)
    shots = 5 if case in {"bam-2", "bam-3"} else 1
    # heads on given features have no backbone: that of the file is 0
    file = write_official(folder / "theirs.pth", manifest(test_data, name), data, shots=shots)
    return open_model(Path(f"official:{file}"), method=READ[name][0], backbone=READ[name][1]).method.eval()


def check_panet(test_data: Path, method: Method) -> None:
    case = panet.load(test_data, "panet-1")._replace(method=method)
    panet.test_features(case)
    panet.test_head_and_losses(case)


def check_canet(test_data: Path, method: Method) -> None:
    case = canet.load(test_data, "canet-1")._replace(method=method)
    canet.test_predict_is_the_last_pass_at_image_size(case, canet.encoded(case))


def check_sgone(test_data: Path, method: Method) -> None:
    case = sgone.load(test_data, "sgone-1")._replace(method=method)
    sgone.test_trunk_and_branches(case)
    sgone.test_head(case)


def check_mixture(name: str) -> Callable[[Path, Method], None]:
    def check(test_data: Path, method: Method) -> None:
        case = Mixtures.of(golden.load(test_data / "golden", name), method)
        mixtures.check_steps(case)

    return check


def check_fwb_vgg(test_data: Path, method: Method) -> None:
    case = fwb._case("fwb-1", "vgg16", test_data)._replace(method=method)
    images = fwb._vgg_image(case, "query"), fwb._vgg_image(case, "support0", case.given("support0.mask"))
    fwb.test_vgg_taps_and_head(case, images)


def check_fwb_resnet(test_data: Path, method: Method) -> None:
    case = fwb._case("fwb-2", "resnet101", test_data)._replace(method=method)
    fwb.test_resnet_taps(case)
    sizes = case.golden.info["construction"]["image_sizes"]
    masks = [case.given(f"support{k}.mask") for k in range(3)]
    supports = [fwb._resnet_image(case, f"support{k}", sizes["supports"][k], masks[k]) for k in range(3)]
    query = fwb._resnet_image(case, "query", sizes["query"])
    known = case.vectors(supports)[2]
    case.check("relevance.logits", case.head(query.low, query.top, known, query.labels.shape[1:])[1])


def check_semantic(test_data: Path, method: Method) -> None:
    with pytest.MonkeyPatch.context() as patch:
        ppnet.check_semantic_model(method, golden.load(test_data / "golden", "ppnet-3"), ppnet.injecting(patch))


def check_star(test_data: Path, method: Method) -> None:
    case = golden.load(test_data / "golden", "ppnet-1")
    images, masks, labels = ppnet.images_of(case)
    check = ppnet.Checked(case, "")
    ppnet.check_stages(method, images, check)
    ppnet.check_star(method, ppnet.episode_of(method.encode(images), masks, labels), check, [True])


def check_pfenet(name: str) -> Callable[[Path, Method], None]:
    def check(test_data: Path, method: Method) -> None:
        case = pfenet.load(name, test_data)
        if name != "pfenet-1":  # it is trained with the other pyramid than the released files of its backbone
            method.switches = dataclasses.replace(method.switches, bins=case.method.switches.bins)
        assert method.switches == case.method.switches
        pfenet.test_guidance_and_logits(case._replace(method=method), torch.float32)

    return check


def check_hsnet(name: str) -> Callable[[Path, Method], None]:
    def check(test_data: Path, method: Method) -> None:
        case = hsnet.load(name, test_data)._replace(method=method)
        episode = hsnet._episode(case)
        hsnet.test_block_outputs(case, episode)
        hsnet.test_every_step_of_the_first_support(case, episode)

    return check


def check_ssp(test_data: Path, method: Method) -> None:
    data = golden.load(test_data / "golden", "ssp-1")
    method.double()
    support, query = (method.encode(ssp._image(data, role).flatten(0, -4).double()) for role in ("support", "query"))
    case = ssp.Case(data, method, ssp._episode(data, query, support[:, None, None]), {})
    ssp.test_features(case)
    ssp.test_steps(case)


def check_repri(test_data: Path, method: Method) -> None:
    data, _ = repri.load(test_data, "repri-1")
    repri.check_fit(repri.case_of(data, method, torch.float64))


def check_bam(name: str) -> Callable[[Path, Method], None]:
    def check(test_data: Path, method: Method) -> None:
        case = bam.load(name, test_data)
        assert method.switches == case.network.switches
        bam.test_every_step_of_the_prediction(case._replace(network=method), torch.float32)

    return check


CASES: dict[str, tuple[str, Callable[[Path, Method], None]]] = {
    "panet-1": ("panet-vgg16", check_panet),
    "canet-1": ("canet-resnet50", check_canet),
    "sgone-1": ("sg-one-vgg16", check_sgone),
    "pmms-1": ("pmms-resnet50", check_mixture("pmms-1")),
    "pmms-3": ("pmms-vgg16", check_mixture("pmms-3")),
    "rpmms-1": ("rpmms-resnet50", check_mixture("rpmms-1")),
    "fwb-1": ("fwb-vgg16", check_fwb_vgg),
    "ppnet-1": ("ppnet-panet-star-resnet50", check_star),
    "pfenet-1": ("pfenet-resnet50", check_pfenet("pfenet-1")),
    "pfenet-3": ("pfenet-vgg16", check_pfenet("pfenet-3")),
    "hsnet-1": ("hsnet-resnet50", check_hsnet("hsnet-1")),
    "hsnet-2": ("hsnet-vgg16", check_hsnet("hsnet-2")),
    "ssp-1": ("ssp-resnet50", check_ssp),
    "repri-1": ("repri-resnet50-pascal", check_repri),
    "fwb-2": ("fwb-resnet101", check_fwb_resnet),
    "ppnet-3": ("ppnet-part-sem-resnet50", check_semantic),
    "pfenet-2": ("pfenet-resnet101", check_pfenet("pfenet-2")),
    "bam-1": ("bam-meta-resnet50-pascal", check_bam("bam-1")),
    "bam-2": ("bam-meta-resnet50-pascal", check_bam("bam-2")),
    "bam-3": ("bam-meta-vgg16-coco", check_bam("bam-3")),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_a_file_gives_the_outputs_of_its_authors_code(test_data: Path, tmp_path: Path, case: str) -> None:
    name, check = CASES[case]
    check(test_data, opened(test_data, tmp_path, name, case))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case"), [("bam-base-resnet50-pascal", "bam-1"), ("bam-base-vgg16-coco", "bam-3")])
@torch.no_grad()
def test_a_base_learner_gives_the_logits_of_its_authors_code(
    test_data: Path, tmp_path: Path, name: str, case: str
) -> None:
    """The same parameters as in the whole model's file, by the names of stage 1."""
    data = golden.load(test_data / "golden", case)
    file = write_official(
        tmp_path / "base.pth",
        manifest(test_data, name),
        data,
        lambda key: re.sub("^cls", "learner_base.1", re.sub("^ppm", "learner_base.0", key)),
        whole=False,
    )
    backbone = STAGES[name][1]
    imported = find_network(f"official:{file}", "bam", backbone, "base")
    network = make(PSPNet, build_backbone(backbone, PSPNet.layout), imported.origin.base_classes).eval()
    network.load_state_dict(imported.state)
    data.check("base_logits_small", network.logits(trunks.images(data, "query")))


def test_the_page_of_released_files_has_every_method_with_its_licence() -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "released.md").read_text()
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| `") and line.count("|") == 5]
    licences = {name.split("`")[1]: licence for name, _, licence, _ in rows}
    for name in method_names():
        for kind in released_of(name):
            assert licences[name].split()[0] == kind.licence.split()[0], (name, kind.what)
