"""The paper's stack against golden data: what the published implementation made of files of the published form.

The full-size files come from a formula (`tests/sam_formula.py`), as those that made the golden data did.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from adfd.basics.pooling import pool
from adfd.methods.anchors import Anchors, transformed_anchors
from adfd.methods.diversify import Perturbation, perturb
from adfd.methods.guided import Path as AgePath
from adfd.methods.guided import path_codes, walk
from adfd.methods.objective import LossWeights, objective
from adfd.methods.refine import Refinement, Sample, refine
from adfd.models import load_sam
from adfd.models.networks import Networks
from adfd.models.sam import read_sam
from adfd.models.sources import Sources
from adfd.stylespace.statistics import Channels
from tests.conftest import PAPER_WEIGHTS
from tests.sam_formula import formula_coefficients, formula_files, image, with_start

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parents[1] / "golden"
LOSS = LossWeights(5, 0.1, 0.01, 0.01, 0, "anchor", True)
PUBLISHED = Refinement(lr=0.01, max_steps=5, draft_steps=0, patience=7, min_delta=1e-4, batch_size=1, keep="last_moved")
CODE = 1e-3
"""Relative error allowed in codes and images."""


@pytest.fixture(scope="module", autouse=True)
def _threads() -> object:
    """Full-size networks are quicker on all cores."""
    n = torch.get_num_threads()
    torch.set_num_threads(max(n, 2))
    yield
    torch.set_num_threads(n)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "sam.npz"))


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    """The stack with the formula's channel coefficients, on the file whose options golden data are of."""
    channels = tmp_path_factory.mktemp("channels") / "channels.npz"
    formula_channels().save(channels)
    return load_sam(**formula_files(), channels=channels)


def formula_channels() -> Channels:
    from adfd.stylespace.layout import stylegan2

    mask = stylegan2().conv_mask
    coefficients = []
    for values in formula_coefficients():
        coef = torch.zeros(len(mask))
        coef[mask] = values
        coefficients.append(coef)
    zeros = torch.zeros(len(mask))
    return Channels("stylegan2-ffhq-1024", *coefficients, zeros, zeros, torch.zeros(512))


@pytest.fixture(scope="module")
def source(sam: Networks) -> Sources:
    return sam.read(["img0"], image(0), torch.zeros(1, 18, 512))


@pytest.fixture(scope="module")
def anchors(sam: Networks, source: Sources) -> Anchors:
    return transformed_anchors(sam, source, 80.0, batch_size=1, age_image="full")


def off(found: Tensor, golden: np.ndarray) -> float:
    """Relative error in norm."""
    expected = torch.from_numpy(golden).double()
    return ((found.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("age", [5, 80])
@torch.inference_mode()
def test_encoder_generator_and_judges(sam: Networks, golden: dict[str, np.ndarray], age: int) -> None:
    expected = {key.removeprefix(f"img0_age{age}_"): value for key, value in golden.items()}
    source = image(0)
    w_plus = sam.encode(source, age)
    s = sam.affine(w_plus)
    assert off(s[0], expected["s"]) < CODE
    assert off(sam.transformer.pretrained_encoder(source)[0] + w_plus[0], expected["w_plus"]) < CODE
    img = sam.synthesis(s)
    assert img.shape == (1, 3, 1024, 1024)
    assert off(F.adaptive_avg_pool2d(img, 64)[0], expected["out64"]) < CODE
    assert img.std().item() == pytest.approx(expected["out_std"].item(), rel=CODE)
    assert sam.age(img).item() == pytest.approx(expected["age"].item(), abs=0.02)
    assert off(sam.age.logits(img)[0], expected["dex_logits"]) < CODE
    pooled = pool(img)
    np.testing.assert_allclose(sam.embed(pooled)[0], expected["id_out"], atol=1e-4)
    np.testing.assert_allclose(sam.embed(source)[0], expected["id_in"], atol=1e-4)
    lpips = sam.perceptual.distance(sam.perceptual.features(pooled), sam.perceptual.features(source))
    assert lpips.item() == pytest.approx(expected["lpips_out_in"].item(), rel=CODE)


@pytest.mark.parametrize("start", ["encoded", "neither"])
@torch.inference_mode()
def test_files_of_other_options_start_as_those_say(golden: dict[str, np.ndarray], tmp_path: Path, start: str) -> None:
    """Golden `w_plus` is the full sum, as with SAM's real file, though its other arrays start from the mean."""
    path = with_start(formula_files()["sam"], start, tmp_path / "sam_ffhq_aging.pt")
    _, transformer = read_sam(path)
    path.unlink()
    found = transformer.eval().encode(image(0), 80)[0]
    if start == "neither":
        found = found + transformer.latent_avg + transformer.pretrained_encoder(image(0))[0]
    assert off(found, golden["img0_age80_w_plus"]) < CODE


def test_first_gradient_and_five_steps_of_diversify(
    sam: Networks, anchors: Anchors, golden: dict[str, np.ndarray]
) -> None:
    expected = {key.removeprefix("diversify_img0_age80_seed7_"): value for key, value in golden.items()}
    assert anchors.age.item() == pytest.approx(expected["anchor_age"].item(), abs=0.02)
    z = torch.from_numpy(np.random.RandomState(7).randn(1, 512)).float()
    s_0 = perturb(
        sam,
        anchors.s,
        z,
        Perturbation(scale=1.0, center=False, mask="weights", weights=PAPER_WEIGHTS, antithetic=False),
    )
    assert off(s_0[0], expected["s_init"]) < CODE

    steps: list[dict[str, float]] = []

    def on_step(sample: Sample, step: int, losses: dict[str, float]) -> None:
        steps.append(losses)

    (sample,) = refine(sam, anchors, [Sample(0, 0, s_0[0])], LOSS, PUBLISHED, on_step)
    terms = ("loss", "id", "l2", "perceptual", "aging", "age")
    found = torch.tensor([[losses[term] for term in terms] for losses in steps[:5]])
    np.testing.assert_allclose(found[:, 0], expected["history"][:, 0], rtol=0.01)
    np.testing.assert_allclose(found[:, 1:4], expected["history"][:, 1:4], rtol=0.01)
    np.testing.assert_allclose(found[:, 5], expected["history"][:, 5], atol=0.02)
    assert off(sample.s, expected["s_final"]) < CODE

    s = s_0.clone().requires_grad_()
    objective(sam, pool(sam.synthesis(s)), anchors.constants([0]), LOSS, None).total.sum().backward()
    assert s.grad is not None
    gradient, reference = s.grad[0].double(), torch.from_numpy(expected["grad0"]).double()
    assert gradient.norm().item() == pytest.approx(reference.norm().item(), rel=0.01)
    assert F.cosine_similarity(gradient, reference, dim=0) > 0.999


@torch.inference_mode()
def test_guided_path_and_trace(sam: Networks, source: Sources, golden: dict[str, np.ndarray]) -> None:
    path = AgePath(n_samples=4, interval=3)
    anchors = transformed_anchors(sam, source, 5.0, batch_size=1, age_image="full")
    codes = path_codes(sam, anchors, path)[:, 0]
    assert off(codes, golden["guided_img0_age5_path"]) < CODE
    for alpha, age in golden["guided_img0_age5_trace"]:
        _, read = sam.render_aged(walk(codes, 5.0, path, alpha)[None], 1, "full")
        assert read.item() == pytest.approx(age, abs=0.02)
