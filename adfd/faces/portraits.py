"""Real portraits in the public domain for experiments, taken from well-known packages; adfd ships none of them.

python -m adfd.faces.portraits FOLDER     writes three to a folder; two are fetched from a source archive on PyPI

collins.png   Eileen Collins, 1999: data/astronaut.png of scikit-image; NASA, public domain
obama.jpg     Barack Obama, as President: tests/test_images/obama.jpg of face_recognition 1.3.0;
              White House, public domain
biden.jpg     Joseph Biden, as Vice President: tests/test_images/biden.jpg of the same package;
              White House, public domain
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from adfd.basics.errors import AdfdError
from adfd.faces.people import portrait
from adfd.models import fetch
from adfd.models.fetch import FetchedFile, Package

FACE_RECOGNITION = Package(
    "pypi",
    "face_recognition",
    "1.3.0",
    "3 MB",
    "MIT",
    "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
)
FETCHED = tuple(
    FetchedFile(FACE_RECOGNITION, f"face_recognition-1.3.0/tests/test_images/{name}.jpg", sha256, "a public portrait")
    for name, sha256 in {
        "obama": "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
        "biden": "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
    }.items()
)


def put(folder: Path) -> list[Path]:
    """Write the portraits to a folder; returns their paths. Raises AdfdError where the package cannot be fetched."""
    folder.mkdir(parents=True, exist_ok=True)
    if not all(file.is_there() for file in FETCHED):
        fetch.fetch(FACE_RECOGNITION, FETCHED)
    found = {"collins.png": portrait(folder / ".cache"), **{file.path.name: file.locate() for file in FETCHED}}
    for name, file in found.items():
        shutil.copyfile(file, folder / name)
    shutil.rmtree(folder / ".cache")
    return [folder / name for name in found]


def main(arguments: list[str]) -> int:
    """Write the portraits and print their paths; returns the exit code."""
    if not arguments:
        print(__doc__)
        return 1
    try:
        print("\n".join(map(str, put(Path(arguments[0])))))
    except AdfdError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
