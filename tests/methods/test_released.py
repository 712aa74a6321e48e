"""Files as the authors' code writes them, read as methods: all names, and the outputs of the parity cases."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fsseg_bench.engine.build import build_method
from fsseg_bench.engine.open_run import open_model
from fsseg_bench.engine.released import import_official
from fsseg_bench.method import Method
from fsseg_bench.registry import method_names, released_of
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
from tests.support.mixture_cases import Case as Mixtures
from tests.support.official import manifest, write_official

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


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
def test_a_file_is_recognised_and_every_tensor_has_a_place(test_data: Path, tmp_path: Path, name: str) -> None:
    """Both ways: each tensor of the file is used or named as unused, and each of the method is filled from it."""
    listed = manifest(test_data, name)
    imported, kind = import_official(write_official(tmp_path / "best.pth", listed))
    origin = imported.origin
    assert (origin.method, origin.backbone) == READ[name]
    keys = [key.removeprefix(listed["key_prefix"]) for key, _, _ in listed["entries"]]
    used = [key for key in keys if key not in origin.unused]
    assert sorted(str(kind.own(key)) for key in used) == sorted(imported.state)
    assert origin.counters == 0
    base = 15 if origin.base_classes is None else origin.base_classes
    method = build_method(*READ[name], "none", base_classes=base, **origin.switches)
    assert method.state_dict().keys() == imported.state.keys()
    floating = [tensor for tensor in imported.state.values() if tensor.is_floating_point()]
    assert all(bool(tensor.any()) for tensor in floating)


def test_one_name_leads_to_one_table(test_data: Path) -> None:
    """No file is of two kinds by its names alone."""
    kinds = [(method, kind) for method in method_names() for kind in released_of(method)]
    for name, (method, _) in READ.items():
        listed = manifest(test_data, name)
        keys = [key.removeprefix(listed["key_prefix"]) for key, _, _ in listed["entries"]]
        assert [owner for owner, kind in kinds if kind.knows(keys)] == [method], name


def opened(test_data: Path, folder: Path, name: str, case: str) -> Method:
    """The method of a file with the numbers of a parity case, opened as a user does it."""
    data = golden.load(test_data / "golden", case)
    file = write_official(folder / "theirs.pth", manifest(test_data, name), data)
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


def check_star(test_data: Path, method: Method) -> None:
    case = golden.load(test_data / "golden", "ppnet-1")
    images, masks, labels = ppnet.images_of(case)
    check = ppnet.Checked(case, "")
    ppnet.check_stages(method, images, check)
    ppnet.check_star(method, ppnet.episode_of(method.encode(images), masks, labels), check, [True])


def check_pfenet(name: str) -> Callable[[Path, Method], None]:
    def check(test_data: Path, method: Method) -> None:
        case = pfenet.load(name, test_data)
        if name == "pfenet-3":  # it is trained with the other pyramid than the released files of VGG-16
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
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_a_file_gives_the_outputs_of_its_authors_code(test_data: Path, tmp_path: Path, case: str) -> None:
    name, check = CASES[case]
    check(test_data, opened(test_data, tmp_path, name, case))
