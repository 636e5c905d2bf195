"""The paper's stack at small sizes: strict loading and its failures, and the networks against their definitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lpips
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adfd.basics.errors import AdfdError
from adfd.basics.pooling import pool
from adfd.faces.prepared import PrepareSettings, load_sources, prepare
from adfd.methods.diversify import Perturbation, perturb
from adfd.models import check, checkpoints, fetch, load_sam, load_stylegan2
from adfd.models import networks as networks_module
from adfd.models.arcface import ArcFace
from adfd.models.dex import Dex
from adfd.models.draft import Draft
from adfd.models.lpips_alex import load_lpips, read_alexnet
from adfd.models.networks import Networks
from adfd.models.psp import SamTransformer
from adfd.models.sam import Architecture, make_generator, read_arcface, read_dex, read_sam
from adfd.models.sources import Sources
from adfd.models.stylegan2 import StyleGAN2, fold
from adfd.stylespace.statistics import Channels
from tests.conftest import PAPER_WEIGHTS

pytestmark = pytest.mark.thorough

SMALL = Architecture(
    resolution=64,
    channels={4: 12, 8: 12, 16: 8, 32: 8, 64: 4},
    w_dim=16,
    encoder=((4, 1), (4, 2), (8, 2), (8, 1)),
    arcface=((4, 1), (4, 1), (8, 1), (8, 1)),
    dex=((4, 1), (4, 1), (8, 1), (8, 1), (8, 1)),
    dex_hidden=16,
)


def file_form(generator: StyleGAN2) -> dict[str, torch.Tensor]:
    """A generator's parameters in the form of a file: convolutions with an axis for the sample."""
    rng = torch.Generator().manual_seed(1)
    state = {key: torch.randn(value.shape, generator=rng) for key, value in generator.state_dict().items()}
    kernel = generator.state_dict()["convs.0.conv.blur.kernel"]
    state |= {key: kernel for key in state if key.endswith("kernel")}
    return {key: value[None] if key.endswith("conv.weight") else value for key, value in state.items()}


@pytest.fixture(scope="session")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of the published form for `SMALL`, by the argument names of `load_sam`."""
    from torchvision.models import alexnet

    folder = tmp_path_factory.mktemp("pretrained_models")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = make_generator(SMALL)
        transformer = SamTransformer(generator.space.n_w_rows, 16, SMALL.encoder)
        state = {key: value for key, value in transformer.state_dict().items() if key != "latent_avg"}
        state |= {f"decoder.{key}": value for key, value in file_form(generator).items()}
        latent_avg = torch.randn(1, 16).repeat(10, 1)
        contents: dict[str, Any] = {
            "sam": {"state_dict": state, "latent_avg": latent_avg, "opts": {"output_size": 64}},
            "arcface": ArcFace(SMALL.arcface).state_dict(),
            "dex": {
                "state_dict": {
                    key.replace("fc8_101", "fc8-101"): value
                    for key, value in Dex(SMALL.dex, SMALL.dex_hidden).state_dict().items()
                }
            },
            "alexnet": {f"features.{key}": value for key, value in alexnet(weights=None).features.state_dict().items()},
            "generator": {"g_ema": file_form(generator), "latent_avg": latent_avg[0]},
        }
    for key, content in contents.items():
        torch.save(content, folder / f"{key}.pt")
    return {key: folder / f"{key}.pt" for key in contents}


@pytest.fixture(scope="session")
def sam(small_files: dict[str, Path]) -> Networks:
    return load_sam(**{key: small_files[key] for key in ("sam", "arcface", "dex", "alexnet")}, architecture=SMALL)


@pytest.fixture
def codes(sam: Networks) -> torch.Tensor:
    z = torch.randn(3, 16, generator=torch.Generator().manual_seed(5))
    return sam.affine(sam.mapping(z))


def test_a_draft_can_be_refined_on(sam: Networks, small_files: dict[str, Path], tmp_path: Path) -> None:
    size = sam.generator.resolution
    with (tmp_path / "draft.npz").open("wb") as stream:
        Draft(sam.name, sam.space, size, widths=[8], rank=4).save(stream)
    files = {key: small_files[key] for key in ("sam", "arcface", "dex", "alexnet")}
    drafting = load_sam(**files, draft=tmp_path / "draft.npz", architecture=SMALL).drafting()
    s = sam.affine(sam.mapping(torch.randn(2, 16))).requires_grad_()
    img = drafting.synthesis_pooled(s)
    assert img.shape == (2, 3, size, size)
    (gradient,) = torch.autograd.grad(drafting.age(img).sum() + drafting.embed(img).sum(), s)
    assert (gradient != 0).any()


def test_the_stack_has_the_shape_of_the_others(sam: Networks) -> None:
    source = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    w_plus = sam.encode(source, 30)
    assert w_plus.shape == (2, 10, 16)
    assert torch.allclose(w_plus, sam.encode(source, torch.tensor([30.0, 30.0])))
    mixed = sam.encode(source, torch.tensor([30.0, 80.0]))
    assert torch.allclose(mixed[0], w_plus[0], atol=1e-5)
    assert not torch.allclose(mixed[1], w_plus[1], atol=1e-5)
    img = sam.synthesis(sam.affine(w_plus))
    assert img.shape == (2, 3, 64, 64)
    ages, embedding = sam.age(img), sam.embed(img)
    assert ((ages >= 0) & (ages <= 100)).all()
    assert torch.allclose(embedding.norm(dim=1), torch.ones(2), atol=1e-5)
    assert sam.id_similarity(embedding, embedding) == pytest.approx([1, 1], abs=1e-5)
    assert sam.gender(img).exp().sum(dim=1) == pytest.approx([1, 1], abs=1e-5)
    assert sam.has_encoder
    assert sam.perceptual.name == "lpips"
    sources = Sources(("a", "b"), source, w_plus, ages, embedding)
    assert torch.allclose(sam.transform(sources, torch.tensor([30.0, 80.0])), mixed, atol=1e-5)


BOTH = {"start_from_latent_avg": True, "start_from_encoded_w_plus": True}
TRAINED = {"start_from_latent_avg": False, "start_from_encoded_w_plus": True}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "start", "expected"),
    [
        (BOTH, "checkpoint", "average"),  # the first that is true counts
        ({"start_from_latent_avg": True}, "checkpoint", "average"),
        (TRAINED, "checkpoint", "encoded"),  # SAM's real file
        ({"start_from_encoded_w_plus": True}, "checkpoint", "encoded"),
        (dict.fromkeys(BOTH, False), "checkpoint", "neither"),
        (BOTH, "encoded", "encoded"),
        (TRAINED, "average", "average"),
    ],
)
def test_the_file_s_options_say_what_sam_s_offset_is_added_to(
    small_files: dict[str, Path], tmp_path: Path, options: dict[str, bool], start: str, expected: str
) -> None:
    rewritten(lambda content: content | {"opts": options})(small_files["sam"], tmp_path / "sam.pt")
    sam = load(small_files, sam=tmp_path / "sam.pt", start=start)
    source = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    offset = sam.transformer.encoder(torch.cat([source, torch.full((1, 1, 256, 256), 0.3)], dim=1))
    mean, read = sam.transformer.latent_avg, sam.transformer.pretrained_encoder(source)
    codes = {"average": offset + mean, "encoded": offset + read + mean, "neither": offset}
    assert torch.allclose(sam.encode(source, 30), codes[expected], atol=1e-5)
    assert not any(torch.allclose(codes[expected], code, atol=1e-2) for name, code in codes.items() if name != expected)


@pytest.mark.parametrize("options", [None, {"output_size": 64}])
def test_a_file_that_does_not_say_starts_as_sam_was_trained_and_the_log_says_so(
    small_files: dict[str, Path], tmp_path: Path, options: dict | None, caplog: pytest.LogCaptureFixture
) -> None:
    rewritten(lambda content: content | {"opts": options})(small_files["sam"], tmp_path / "sam.pt")
    with caplog.at_level("INFO"):
        _, transformer = read_sam(tmp_path / "sam.pt", SMALL)
    assert transformer.start == "encoded"
    assert "sam.pt does not say what SAM's offset is added to: the encoded picture is taken" in caplog.text


class SizeJudge(torch.nn.Module):
    """Reads the width of a picture as its age."""

    def forward(self, img: torch.Tensor) -> torch.Tensor:
        return torch.full((len(img),), float(img.shape[-1]))


def test_ages_are_read_on_the_pooled_or_the_full_picture(
    small_files: dict[str, Path], codes: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks_module, "pool", lambda img, size=16: pool(img, 16))
    sam = load(small_files)
    sam.age = SizeJudge()
    for kind, width in (("full", 64), ("pooled", 16)):
        pooled, ages = sam.render_aged(codes, 2, kind)
        assert torch.allclose(pooled, sam.render(codes), atol=1e-4)
        assert ages.tolist() == [width] * 3


def test_only_stacks_with_an_encoder_encode(tiny: Networks) -> None:
    assert not tiny.has_encoder
    with pytest.raises(AdfdError, match="tiny-0 has no encoder"):
        tiny.encode(torch.zeros(1, 3, 256, 256), 30)


def test_files_reach_the_networks_unchanged_but_for_the_named_constants(
    sam: Networks, small_files: dict[str, Path]
) -> None:
    content = checkpoints.read(small_files["sam"])
    state, generator = content["state_dict"], sam.generator.state_dict()
    for key, value in sam.transformer.state_dict().items():
        expected = content["latent_avg"] if key == "latent_avg" else state[key]
        assert torch.equal(value, expected), key
    constants = {
        "style.1.weight": 0.01 / 4,
        "style.1.bias": 0.01,
        "conv1.conv.weight": 1 / np.sqrt(12 * 9),
        "to_rgbs.1.conv.weight": 1 / np.sqrt(8),
        "convs.1.conv.modulation.weight": 1 / 4,
        "convs.1.conv.modulation.bias": 1,
        "convs.3.activate.bias": np.sqrt(2),
        "convs.3.noise.weight": np.sqrt(2),
        "noises.noise_3": 1,
    }
    for key, constant in constants.items():
        assert torch.allclose(generator[key], (state[f"decoder.{key}"] * constant).reshape(generator[key].shape)), key
    assert torch.allclose(sam.generator.w_avg, content["latent_avg"][0], atol=1e-6)
    dex = checkpoints.read(small_files["dex"])["state_dict"]
    assert torch.equal(sam.age.fc8_101.weight, dex["fc8-101.weight"])


def modulated_by_weights(x: torch.Tensor, weight: torch.Tensor, style: torch.Tensor, blur: torch.Tensor | None) -> Any:
    """The modulated convolution of the StyleGAN2 paper: each sample's own weights, scaled and demodulated."""
    rows = []
    for row, s in zip(x, style, strict=True):
        w = weight * s[None, :, None, None]
        w = w / (w.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if blur is None:
            rows.append(F.conv2d(row[None], w, padding=1))
            continue
        y = F.conv_transpose2d(row[None], w.transpose(0, 1), stride=2)
        y = F.pad(y, (1, 1, 1, 1)).transpose(0, 1)
        rows.append(F.conv2d(y, blur.flip(0, 1)[None, None]).transpose(0, 1))
    return torch.cat(rows) * np.sqrt(2)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3), st.floats(0.1, 10), st.sampled_from([0, 1]))
def test_scaling_features_equals_scaling_weights(sam: Networks, seed: int, n: int, scale: float, which: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    conv = sam.generator.convs[which].conv
    x = torch.randn(n, 12, 8, 8, generator=rng)
    style = scale * torch.randn(n, 12, generator=rng)
    expected = modulated_by_weights(x, conv.weight, style, conv.blur.kernel if conv.blur else None)
    assert torch.allclose(conv(x, style), expected, atol=1e-4)


def test_skip_pictures_are_upsampled_as_by_zeros_and_a_filter(sam: Networks) -> None:
    upsample = sam.generator.to_rgbs[0].upsample
    img = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    spread = torch.zeros(2, 3, 10, 10)
    spread[..., ::2, ::2] = img
    padded = F.pad(spread, (2, 1, 2, 1)).flatten(0, 1)[:, None]
    expected = F.conv2d(padded, upsample.kernel.flip(0, 1)[None, None]).view(2, 3, 10, 10)
    assert torch.allclose(upsample(img), expected, atol=1e-6)


@torch.no_grad()
def test_samples_do_not_influence_one_another(sam: Networks, codes: torch.Tensor) -> None:
    together = sam.synthesis(codes)
    alone = torch.cat([sam.synthesis(row[None]) for row in codes])
    assert torch.allclose(together, alone, atol=1e-4 * together.abs().max().item())


def test_mixed_precision_is_near_and_leaves_codes_and_judges_in_full(sam: Networks, codes: torch.Tensor) -> None:
    z = torch.randn(2, 16, generator=torch.Generator().manual_seed(5))
    s = codes.detach().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        code = sam.affine(sam.mapping(z))
        img = sam.synthesis(s)
        age = sam.age(img)
        age.sum().backward()
    assert code.dtype == img.dtype == age.dtype == torch.float32
    assert torch.equal(code, sam.affine(sam.mapping(z)))
    exact = sam.synthesis(codes)
    assert (img - exact).norm() < 0.03 * exact.norm()
    assert s.grad is not None
    assert torch.isfinite(s.grad).all()


@torch.no_grad()
def test_noise_is_stored_random_or_none(sam: Networks, codes: torch.Tensor) -> None:
    stored, none = sam.synthesis(codes), sam.generator.synthesis(codes, noise="none")
    assert torch.equal(stored, sam.generator.synthesis(codes, noise="stored"))
    first, second, other = (
        sam.generator.synthesis(codes, noise="random", rng=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    for a, b in ((first, other), (first, stored), (stored, none)):
        assert not torch.allclose(a, b)
    with pytest.raises(AdfdError, match="noise must be one of stored, random, none, got loud"):
        sam.generator.synthesis(codes, noise="loud")


@torch.no_grad()
def test_w_plus_of_equal_rows_is_w_and_psi_0_the_mean(sam: Networks) -> None:
    w = sam.mapping(torch.randn(2, 16, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(sam.affine(w), sam.affine(w[:, None].repeat(1, 10, 1)))
    assert torch.allclose(sam.generator.truncate(w, 0), sam.generator.w_avg.expand(2, -1))
    assert torch.equal(sam.generator.truncate(w, 1), w)


@pytest.mark.parametrize("resolution", [8, 16, 128])
def test_any_power_of_two(resolution: int) -> None:
    generator = StyleGAN2("g", resolution, {2**i: 4 for i in range(2, 11)}, w_dim=8)
    s = generator.affine(generator.mapping(torch.randn(1, 8)))
    assert s.shape == (1, generator.space.n_channels)
    assert generator.synthesis(s).shape == (1, 3, resolution, resolution)


def test_gradients_reach_the_code(sam: Networks, codes: torch.Tensor) -> None:
    s = codes.detach().clone().requires_grad_()
    img = sam.synthesis(s)
    (sam.age(img) + sam.embed(img).sum(dim=1)).sum().backward()
    assert s.grad is not None
    assert torch.isfinite(s.grad).all()
    assert (s.grad != 0).any()


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::UserWarning")
@torch.no_grad()
def test_lpips_is_the_package_s_own(sam: Networks, small_files: dict[str, Path]) -> None:
    package = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    features = checkpoints.read(small_files["alexnet"])
    convolutions = [module for module in package.net.modules() if isinstance(module, torch.nn.Conv2d)]
    for index, convolution in zip((0, 3, 6, 8, 10), convolutions, strict=True):
        convolution.load_state_dict(checkpoints.part(features, f"features.{index}."))
    a, b = torch.rand(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mine = sam.perceptual.distance(sam.perceptual.features(a), sam.perceptual.features(b))
    assert torch.allclose(mine, package(a, b).flatten(), rtol=1e-5)
    assert torch.equal(sam.perceptual.distance(*[sam.perceptual.features(a)] * 2), torch.zeros(3))


def test_arcface_sees_the_published_crop(sam: Networks) -> None:
    img = torch.zeros(1, 3, 256, 256)
    outside = torch.ones(1, 3, 256, 256)
    outside[..., 35:223, 32:220] = 0
    assert torch.equal(sam.embed(img), sam.embed(outside))
    outside[..., 222, 219] = 1
    assert not torch.equal(sam.embed(img), sam.embed(outside))


def test_age_is_the_expectation_over_the_years(sam: Networks) -> None:
    img = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    p = sam.age.logits(img).softmax(dim=1)
    assert sam.age(img) == pytest.approx([(row * np.arange(101)).sum() for row in p.numpy()], rel=1e-5)


def load(small_files: dict[str, Path], **changes: object) -> Networks:
    files = {key: small_files[key] for key in ("sam", "arcface", "dex", "alexnet")}
    return load_sam(**{**files, **changes}, architecture=SMALL)  # type: ignore[arg-type]


def test_missing_files_are_listed_at_once_before_anything_is_built(
    small_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "read", lambda path: pytest.fail("a file was read"))
    with pytest.raises(AdfdError) as error:
        load(small_files, sam=tmp_path / "sam_ffhq_aging.pt", dex=tmp_path / "dex_age_classifier.pth")
    message = str(error.value)
    assert message.startswith(f"2 files of weights are missing: {tmp_path}/sam_ffhq_aging.pt (SAM's encoders")
    for part in ("2.3 GB", "540 MB", "github.com/yuval-alaluf/SAM", "dex_age_classifier.pth", "model.sam, model.dex"):
        assert part in message
    assert "arcface.pt" not in message
    assert "\n" not in message


@pytest.mark.thorough
def test_lpips_stands_on_the_fetched_weights(
    small_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fetch.ALEXNET.is_there():
        fetched = load(small_files, alexnet=None).perceptual.lpips.net.slice1[0].weight
        assert torch.equal(fetched, load_lpips().lpips.net.slice1[0].weight)
        assert not torch.equal(fetched, load(small_files).perceptual.lpips.net.slice1[0].weight)
    monkeypatch.setenv("ADFD_CACHE", str(tmp_path))
    with pytest.raises(AdfdError, match=r"alexnet\.ckpt .* fetch it with: .*model\.perceptual=face_features does"):
        load(small_files, alexnet=None)
    networks = load(small_files, alexnet=None, perceptual="face_features")
    assert networks.perceptual.name == "face_features"
    with pytest.raises(AdfdError, match=r"model\.perceptual must be one of lpips, face_features, got vgg"):
        load(small_files, perceptual="vgg")
    with pytest.raises(AdfdError, match=r"model\.start must be one of checkpoint, encoded, average, got zero"):
        load(small_files, start="zero")


WrongFile = Callable[[Path, Path], None]


def rewritten(change: Callable[[Any], Any]) -> WrongFile:
    return lambda good, path: torch.save(change(torch.load(good, weights_only=True)), path)


def without(key: str) -> WrongFile:
    return rewritten(lambda content: {k: v for k, v in content.items() if k != key})


WRONG: dict[str, tuple[WrongFile, str]] = {
    "empty": (lambda good, path: path.write_bytes(b"") and None, "is an empty file; download it again"),
    "web page": (lambda good, path: path.write_text("\n<!DOCTYPE html><html>Quota exceeded") and None, "is a web page"),
    "truncated": (lambda good, path: path.write_bytes(good.read_bytes()[:-5000]) and None, "is truncated: it ends"),
    "other data": (lambda good, path: path.write_bytes(b"\x00\x01weights" * 99) and None, "is not a file of PyTorch"),
    "code": (lambda good, path: torch.save({"state_dict": Path}, path), "is not a file of PyTorch weights"),
    "folder": (lambda good, path: path.mkdir(), "missing: "),
    "a tensor": (rewritten(lambda content: torch.zeros(3)), "expected an entry state_dict, found Tensor"),
    "no weights": (without("state_dict"), "expected an entry state_dict, found latent_avg, opts"),
    "a list": (rewritten(lambda c: c | {"state_dict": list(c["state_dict"])}), "expected an entry state_dict"),
    "a number": (
        rewritten(lambda c: c | {"state_dict": c["state_dict"] | {"decoder.to_rgb1.bias": 3}}),
        "decoder.to_rgb1.bias missing",
    ),
    "one mean": (rewritten(lambda c: c | {"latent_avg": c["latent_avg"][0]}), "latent_avg [16] instead of [10, 16]"),
    "no mean": (without("latent_avg"), "expected an entry latent_avg"),
    "missing key": (
        rewritten(lambda c: c | {"state_dict": {k: v for k, v in c["state_dict"].items() if "conv1.noise" not in k}}),
        "decoder.conv1.noise.weight missing",
    ),
    "extra key": (
        rewritten(lambda c: c | {"state_dict": c["state_dict"] | {"encoder.styles.10.linear.bias": torch.zeros(16)}}),
        "encoder.styles.10.linear.bias not expected",
    ),
    "misshapen": (
        rewritten(lambda c: c | {"state_dict": c["state_dict"] | {"decoder.to_rgb1.bias": torch.zeros(1, 4, 1, 1)}}),
        "decoder.to_rgb1.bias [1, 4, 1, 1] instead of [1, 3, 1, 1] of another shape",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_is_one_line_that_says_which_and_why(
    small_files: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    make, reason = WRONG[kind]
    path = tmp_path / "sam_ffhq_aging.pt"
    make(small_files["sam"], path)
    with pytest.raises(AdfdError) as error:
        load(small_files, sam=path)
    assert str(path) in str(error.value)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_other_sizes_and_other_networks_are_refused(small_files: dict[str, Path]) -> None:
    with pytest.raises(AdfdError, match=r"another network, or one of another size: .* and \d+ more missing"):
        read_sam(small_files["sam"], replace(SMALL, resolution=128, channels={**SMALL.channels, 128: 4}))
    with pytest.raises(AdfdError, match="another network"):
        read_arcface(small_files["alexnet"], SMALL)
    with pytest.raises(AdfdError, match="expected an entry state_dict"):
        read_dex(small_files["arcface"], SMALL)
    with pytest.raises(AdfdError, match="another network"):
        read_alexnet(small_files["arcface"])
    with pytest.raises(AdfdError, match=r"fc6\.weight \[16, 392\] instead of"):
        read_dex(small_files["dex"], replace(SMALL, dex_hidden=8))


def test_files_of_old_pytorch_are_read(small_files: dict[str, Path], tmp_path: Path) -> None:
    content = torch.load(small_files["arcface"], weights_only=True)
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    old, new = (read_arcface(path, SMALL) for path in (tmp_path / "old.pth", small_files["arcface"]))
    assert all(torch.equal(a, b) for a, b in zip(old.state_dict().values(), new.state_dict().values(), strict=True))
    (tmp_path / "old.pth").write_bytes((tmp_path / "old.pth").read_bytes()[:-5000])
    with pytest.raises(AdfdError, match="or truncated"):
        read_arcface(tmp_path / "old.pth", SMALL)


def test_half_precision_files_are_read_as_single(small_files: dict[str, Path], tmp_path: Path) -> None:
    content = torch.load(small_files["dex"], weights_only=True)["state_dict"]
    torch.save({"state_dict": {key: value.half() for key, value in content.items()}}, tmp_path / "half.pth")
    assert read_dex(tmp_path / "half.pth", SMALL).fc6.weight.dtype == torch.float32


def test_weights_are_mapped_not_copied(sam: Networks, small_files: dict[str, Path]) -> None:
    """The encoders, four fifths of SAM's file, stay where the file is mapped."""
    mapped = Path("/proc/self/maps")
    if not mapped.exists():
        pytest.skip("no /proc here")
    assert str(small_files["sam"]) in mapped.read_text()
    assert all(p.device.type == "cpu" for p in sam.parameters())
    assert not any(p.requires_grad for p in sam.parameters())


def test_check_prints_what_is_there_and_what_is_wrong(
    tmp_path: Path, small_files: dict[str, Path], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "model_ir_se50.pth").write_text("<html>")
    assert check.main([f"folder={tmp_path}", f"alexnet={small_files['alexnet']}"]) == 1
    shown = capsys.readouterr().out
    assert "missing: SAM's encoders and StyleGAN2, 2.3 GB" in shown
    assert "is a web page" in shown
    assert "ok" in shown
    monkeypatch.setitem(check.READERS, check.sam.STYLEGAN2, lambda path: None)
    assert check.main(["model=stylegan2", f"model.generator={small_files['generator']}"]) == 0
    for arguments in (["model=mobile"], ["dlib=x"], ["sam"]):
        assert check.main(arguments) == 1
        assert "error: " in capsys.readouterr().out


@pytest.mark.thorough
def test_stylegan2_alone(small_files: dict[str, Path], tmp_path: Path, sources: Sources) -> None:
    networks = load_stylegan2(small_files["generator"], architecture=SMALL)
    assert (networks.name, networks.perceptual.name, networks.has_encoder) == (
        "stylegan2-ffhq-64",
        "face_features",
        False,
    )
    with pytest.raises(AdfdError, match=r"stylegan2-ffhq-64 has no age path; .*adfd\.analyze"):
        networks.transform(sources, torch.zeros(3))
    with pytest.raises(AdfdError, match="diversify needs channel weights"):
        perturb(
            networks, torch.zeros(1, 1), torch.zeros(1, 16), Perturbation(1.0, False, "weights", PAPER_WEIGHTS, False)
        )
    n = networks.space.n_channels
    zeros = torch.zeros(n)
    coefficients = torch.linspace(0, 1, n), zeros
    channels = Channels(networks.name, *coefficients, zeros, zeros, torch.ones(16))
    channels.save(tmp_path / "channels.npz")
    judges = {key: small_files[key] for key in ("arcface", "dex", "alexnet")}
    networks = load_stylegan2(
        small_files["generator"],
        judges="sam",
        perceptual="lpips",
        channels=tmp_path / "channels.npz",
        architecture=SMALL,
        **judges,
    )
    w_plus = torch.zeros(1, networks.space.n_w_rows, 16)
    person = networks.read(["a"], networks.render(networks.affine(w_plus)), w_plus)
    older = networks.transform(person, person.age + 5)
    assert torch.allclose(older, torch.full_like(older, 5.0), atol=1e-4)
    content = torch.load(small_files["generator"], weights_only=True)
    torch.save(content | {"latent_avg": torch.zeros(10, 16)}, tmp_path / "rows.pt")
    with pytest.raises(AdfdError, match=r"latent_avg \[10, 16\], not \[16\]"):
        load_stylegan2(tmp_path / "rows.pt", architecture=SMALL)
    with pytest.raises(AdfdError, match=r"model\.judges must be one of dlib, sam, got both"):
        load_stylegan2(small_files["generator"], judges="both")
    with pytest.raises(AdfdError, match=r"model\.judges=sam needs model\.arcface and model\.dex"):
        load_stylegan2(small_files["generator"], judges="sam")


def test_fold_makes_new_tensors() -> None:
    noise = torch.zeros(1, 1, 4, 4)
    assert fold({"noises.noise_0": noise})["noises.noise_0"].data_ptr() != noise.data_ptr()


def test_photos_are_only_aligned_where_an_encoder_reads_them(sam: Networks, tmp_path: Path) -> None:
    pictures = [Image.effect_noise((256, 256), sigma).convert("RGB") for sigma in (20, 60)]
    photos = [tmp_path / f"{i}.png" for i in range(2)]
    for picture, photo in zip(pictures, photos, strict=True):
        picture.save(photo)
    aligned = PrepareSettings("largest", False, False, 256, 1, 1, 0.1, 1, 1.0, 1.0, 1.0, 0.1)
    faces = prepare(photos, sam, aligned, tmp_path / "cache", progress=False)
    assert [(face.status, face.latents, face.aligned) for face in faces] == [("ready", None, True)] * 2
    sources = load_sources(faces, sam)
    torch.testing.assert_close(sources.w_plus, sam.encode(sources.img, sources.age), rtol=1e-3, atol=1e-3)
    assert not torch.equal(sources.w_plus[0], sources.w_plus[1])
