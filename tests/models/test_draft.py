"""The thin network that stands in for a generator's large layers."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

from adfd.analysis.distillation import Codes, fidelity
from adfd.basics.errors import AdfdError
from adfd.models import load_mobile
from adfd.models.draft import Draft
from adfd.models.networks import Networks
from adfd.models.stylegan2 import StyleGAN2
from adfd.models.tiny import load_tiny


def untaught(networks: Networks) -> Draft:
    return Draft(networks.name, networks.space, 32, widths=[8, 6], rank=4)


@pytest.fixture
def file(tiny: Networks, tmp_path: Path) -> Path:
    path = tmp_path / "draft.npz"
    with path.open("wb") as stream:
        untaught(tiny).save(stream)
    return path


def rewritten(path: Path, **changes: object) -> Path:
    arrays = dict(np.load(path)) | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def test_every_style_reaches_the_picture(tiny: Networks) -> None:
    draft = untaught(tiny).requires_grad_(False)
    s = tiny.affine(tiny.mapping(torch.randn(2, 32))).requires_grad_()
    img = draft(tiny.generator.features(s, draft.trunk), s)
    assert img.shape == (2, 3, 32, 32)
    (gradient,) = torch.autograd.grad(img.square().sum(), s)
    assert (gradient != 0).all()


def test_its_features_are_those_the_generator_draws_with(tiny: Networks) -> None:
    s = tiny.affine(tiny.mapping(torch.randn(2, 32))).requires_grad_()
    features = tiny.generator.features(s, 8)
    assert features.shape == (2, 16, 8, 8)
    (gradient,) = torch.autograd.grad(features.square().sum(), s)
    used = torch.cat([torch.full((layer.width,), layer.resolution <= 8) for layer in tiny.space.layers])
    assert torch.equal(gradient.ne(0).any(dim=0), used)


def test_a_stylegan2_has_features_of_every_size_and_a_draft() -> None:
    generator = StyleGAN2("small", resolution=32, channels={4: 16, 8: 16, 16: 12, 32: 8}, w_dim=16, n_mapping_layers=1)
    s = generator.affine(torch.randn(2, 16)).detach().requires_grad_()
    assert [generator.features(s, size).shape[1:] for size in (4, 8, 16, 32)] == [
        (16, 4, 4),
        (16, 8, 8),
        (12, 16, 16),
        (8, 32, 32),
    ]
    draft = Draft("small", generator.space, 32, widths=[8], rank=4).requires_grad_(False)
    img = draft(generator.features(s, draft.trunk), s)
    assert img.shape == (2, 3, 32, 32)
    (gradient,) = torch.autograd.grad(img.square().sum(), s)
    assert (gradient != 0).all()


def test_a_file_brings_it_back(tiny: Networks, file: Path) -> None:
    draft = Draft.load(file, tiny.name, tiny.space)
    again = BytesIO()
    draft.save(again)
    (file.parent / "again.npz").write_bytes(again.getvalue())
    assert Draft.load(file.parent / "again.npz", tiny.name, tiny.space).digest == draft.digest
    networks = load_tiny(draft=file)
    s = tiny.affine(tiny.mapping(torch.randn(2, 32)))
    assert torch.equal(networks.drafting().synthesis_pooled(s), draft(tiny.generator.features(s, 8), s))
    assert not any(weight.requires_grad for weight in networks.parameters())


def test_the_digest_tells_weights_apart(tiny: Networks) -> None:
    draft = untaught(tiny).requires_grad_(False)
    before = draft.digest
    draft.to_img.weight[0, 0] += 1
    assert draft.digest != before


def test_a_stack_without_one_says_so(tiny: Networks) -> None:
    with pytest.raises(AdfdError, match=r"tiny-0 has no draft; make one with: python -m adfd\.distill"):
        tiny.drafting()


def test_files_that_do_not_fit_are_refused(tiny: Networks, file: Path) -> None:
    def refused(path: Path, match: str, name: str = tiny.name) -> None:
        with pytest.raises(AdfdError, match=match):
            Draft.load(path, name, tiny.space)

    refused(file.with_name("none.npz"), r"draft .*none\.npz does not exist; make one with: python -m adfd\.distill")
    refused(file, "was made for generator tiny-0, not tiny-1", name="tiny-1")
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    refused(file, r"draft\.npz is damaged")
    for changes, match in (
        ({"schema_version": 9}, "has format 9, this program reads 1"),
        ({"to_img.bias": None}, r"does not fit tiny-0 .*to_img"),
        ({"mix.weight": np.zeros((4, 3), np.float16)}, "does not fit tiny-0"),
        ({"rms": np.full(16, np.nan, np.float16)}, "holds numbers that are not finite"),
    ):
        file.write_bytes(whole)
        refused(rewritten(file, **changes), match)


def test_a_generator_that_is_no_larger_than_its_trunk_has_none(tiny: Networks) -> None:
    with pytest.raises(AdfdError, match="has no layers above 64 px to draft"):
        Draft(tiny.name, tiny.space, 256, widths=[8], rank=4)


@pytest.mark.thorough
def test_the_shipped_one_draws_what_its_generator_draws() -> None:
    mobile = load_mobile()
    assert mobile.draft is not None
    found = fidelity(mobile, mobile.draft, Codes(mobile, 77)(0, 4).split(1))
    assert found["psnr"] > 24
    assert found["id_similarity"] > 0.95
