"""Unedited random faces as the judges read them: what a table's line "natural faces" and KID compare outputs with.

Their truncation is that of the persons whom `data=faces` draws or little above it, not that of the calibration, which
needs the ends: faces further from the mean are read less surely by every network.

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
"""Years that a face may be from an output's age to stand for it, and two faces from each other to be a pair."""
ARRAYS = ("age", "faceres_age", "faceapi_age", "features")
LEVELS = 255


@dataclass(frozen=True, eq=False)
class Natural:
    """N unedited faces."""

    age: np.ndarray
    """`[N]`: the loop's reading, in years, the mean over the wide views, as outputs are read."""
    faceres_age: np.ndarray
    """`[N]`, in faceres' years."""
    faceapi_age: np.ndarray
    """`[N]`, in face-api's years, the mean of four crops."""
    features: np.ndarray
    """`[N, 512]`: VGG-16's, of the 256 px picture."""
    seed: int
    psi: float

    def near(self, age: float, years: float = NEAR) -> np.ndarray:
        """Indices of the faces whose age the loop reads within so many years."""
        return np.flatnonzero(np.abs(self.age - age) <= years)

    @classmethod
    def load(cls, path: Path) -> Natural:
        """Raises AdfdError where the file is missing or of another form."""
        try:
            file = read_arrays(path)
            arrays = {name: file[name].astype(np.float64) for name in ARRAYS}
            arrays["features"] *= file["scale"] / LEVELS
            return cls(**arrays, seed=int(file["seed"]), psi=float(file["psi"]))
        except (AdfdError, OSError, KeyError, TypeError, ValueError) as error:
            raise AdfdError(f"{path} holds no natural faces ({error}); make them with: make calibration") from error

    def save(self, path: Path) -> None:
        """Ages in half precision, features in 256 levels of each one's largest value."""
        scale = np.maximum(self.features.max(axis=0), 1e-6)
        arrays = {name: getattr(self, name).astype(np.float16) for name in ARRAYS if name != "features"}
        levels = np.rint(self.features / scale * LEVELS).astype(np.uint8)
        numbers = {"scale": scale.astype(np.float32), "seed": np.array(self.seed), "psi": np.array(self.psi)}
        np.savez_compressed(path, allow_pickle=False, features=levels, **arrays, **numbers)


@cache
def shipped() -> Natural:
    """The faces that ship, of the mobile generator."""
    return Natural.load(SHIPPED)


def rows(
    natural: Natural, calibration: Calibration, outputs: Sequence[Row], flag_years: float, pairs: int = 20
) -> list[Row]:
    """Unedited faces in the place of outputs: for each, pairs near its age that the loop reads alike.

    One of a pair stands for the output, the other for its anchor. Which face stands for the output is the row's photo,
    so that intervals know how few the faces are. Raises AdfdError where no age was read.
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
                    "panel_age": float(age + beyond),  # what the panel adds, carried to the output's age
                    "panel_age_anchor": float(age + panel[j] - natural.age[i]),
                    "age_gap_signed": float(panel[i] - panel[j]),
                    "judges_disagree": float(abs(beyond) > flag_years),
                }
            )
    return made


def main(arguments: list[str]) -> int:
    """Take from a bank what is shipped."""
    if len(arguments) < 2:
        print(__doc__)
        return 1
    banks = [read_arrays(Path(path)) for path in arguments[1:]]
    made = Natural(
        age=np.concatenate([bank["age_wide"] for bank in banks]),
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
