"""The judges' readings of unedited random faces: the reference of the table row "natural faces" and of KID.

Their truncation is that of `data=faces` or slightly above. The calibration uses a weaker truncation, since it needs
very young and very old faces; but all networks are less certain on faces far from the mean.

python -m adfd.evaluation.natural FILE BANK...     from the readings of adfd.evaluation.bank
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from adfd.basics.arrays import read_arrays
from adfd.basics.errors import AdfdError
from adfd.basics.files import Row
from adfd.evaluation.calibration import Calibration

SHIPPED = Path(str(files("adfd") / "data" / "natural-mobilestylegan-ffhq-1024.npz"))
NEAR, ALIKE = 5.0, 1.0
"""Years: largest distance between an output's age and the natural face that replaces it, and within a pair of faces."""
ARRAYS = ("age", "faceres_age", "faceapi_age", "features")
LEVELS = 255


@dataclass(frozen=True, eq=False)
class Natural:
    """N unedited faces."""

    age: np.ndarray
    """`[N]`, in years, as a run reads its outputs by default: `Networks.read_age` with the wide views."""
    faceres_age: np.ndarray
    """`[N]`, in faceres' years."""
    faceapi_age: np.ndarray
    """`[N]`, in face-api's years, the mean of four crops."""
    features: np.ndarray
    """`[N, 512]`: VGG-16 features of the 256 px picture."""
    seed: int
    psi: float

    def near(self, age: float, years: float = NEAR) -> np.ndarray:
        """Indices of the faces whose `age` is within `years` of a given one."""
        return np.flatnonzero(np.abs(self.age - age) <= years)

    @classmethod
    def load(cls, path: Path) -> Natural:
        """Read a file of natural faces. Raises AdfdError where it is missing or has another structure."""
        try:
            file = read_arrays(path)
            arrays = {name: file[name].astype(np.float64) for name in ARRAYS}
            arrays["features"] *= file["scale"] / LEVELS
            return cls(**arrays, seed=int(file["seed"]), psi=float(file["psi"]))
        except (AdfdError, OSError, KeyError, TypeError, ValueError) as error:
            raise AdfdError(f"{path} holds no natural faces ({error}); make them with: make calibration") from error

    def save(self, path: Path) -> None:
        """Write the file: ages in half precision, features quantised to 256 levels relative to each one's maximum."""
        scale = np.maximum(self.features.max(axis=0), 1e-6)
        arrays = {name: getattr(self, name).astype(np.float16) for name in ARRAYS if name != "features"}
        levels = np.rint(self.features / scale * LEVELS).astype(np.uint8)
        numbers = {"scale": scale.astype(np.float32), "seed": np.array(self.seed), "psi": np.array(self.psi)}
        np.savez_compressed(path, allow_pickle=False, features=levels, **arrays, **numbers)


@cache
def shipped() -> Natural:
    """The natural faces included in the package, of the mobile generator."""
    return Natural.load(SHIPPED)


def rows(
    natural: Natural, calibration: Calibration, outputs: Sequence[Row], flag_years: float, pairs: int = 20
) -> list[Row]:
    """Rows in which pairs of unedited faces replace outputs and their anchors.

    For each output up to `pairs` pairs of faces near its age, whose ages by the loop's judge are close: one replaces
    the output, the other its anchor. The first face's name is the row's `photo`, so that confidence intervals account
    for the number of distinct faces. Raises AdfdError where no output has an age.
    """
    ages = [(row["target_age"], row["age"]) for row in outputs if row.get("age") is not None]
    if not ages:
        raise AdfdError("natural faces need outputs whose age was read")
    panel = calibration.panel(natural.faceres_age, natural.faceapi_age)
    generator, made = np.random.default_rng(0), list[Row]()
    for target_age, age in ages:
        near = natural.near(age)
        for number in range(pairs if len(near) > 1 else 0):
            i = generator.choice(near)
            others = natural.near(natural.age[i], ALIKE)
            others = others[others != i]
            if not len(others):
                continue
            j, beyond = generator.choice(others), panel[i] - natural.age[i]
            made.append(
                {
                    "photo": f"natural {i}",
                    "target_age": target_age,
                    "output": number,
                    "status": "ok",
                    "reason": "",
                    "panel_age": float(age + beyond),  # the panel's deviation on this face, added to the output's age
                    "panel_age_anchor": float(age + panel[j] - natural.age[i]),
                    "age_gap_signed": float(panel[i] - panel[j]),
                    "judges_disagree": float(abs(beyond) > flag_years),
                }
            )
    return made


def main(arguments: list[str]) -> int:
    """Extract the natural faces of the package from banks; returns the exit code."""
    if len(arguments) < 2:
        print(__doc__)
        return 1
    banks = [read_arrays(Path(path)) for path in arguments[1:]]
    made = Natural(
        age=np.concatenate([bank["age_default"] for bank in banks]),
        faceres_age=np.concatenate([bank["faceres_age"] for bank in banks]),
        faceapi_age=np.concatenate([bank["faceapi_age"].mean(axis=1) for bank in banks]),
        features=np.concatenate([bank["vgg16"] for bank in banks]),
        seed=int(banks[0]["seed"]),
        psi=float(banks[0]["psi"]),
    )
    made.save(Path(arguments[0]))
    print(f"{len(made.age)} faces, psi {made.psi:g}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
