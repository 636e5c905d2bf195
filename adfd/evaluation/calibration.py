"""Maps from each independent judge's years to the loop's, and the threshold of identity, from unedited faces.

Two age networks speak two scales. A curve maps one to the other by equal shares: the reading that a tenth of the faces
stay below becomes the loop's age that a tenth stay below. It rises everywhere, bends at the ends, and keeps the spread,
which a regression would shrink. (Kolen and Brennan, "Test Equating, Scaling, and Linking", 2014, chapter 2.)
Where fewer faces lie than a share needs, the curve ends: it holds its last value there, and `supported` says so.

python -m adfd.evaluation.calibration BANK FILE     from the readings of adfd.evaluation.bank
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from adfd.basics.arrays import read_arrays
from adfd.basics.errors import AdfdError

SHIPPED = Path(str(files("adfd") / "data" / "panel-mobilestylegan-ffhq-1024.npz"))
FALSE_MATCH_RATE = 1e-3
FEWEST = 5
"""Faces beyond either end of a curve."""
N_KNOTS = 25
ARRAYS = ("faceres_curve", "faceapi_curve", "natural_age", "natural_panel", "natural_female", "natural_male")
RESIDUALS = ("residual_faceres", "residual_faceapi", "residual_panel")
NUMBERS = ("same_person", "same_person_in_loop", *RESIDUALS, "seed", "psi")


@dataclass(frozen=True, eq=False)
class Calibration:
    """What the judges read on unedited faces, which calibrates them."""

    faceres_curve: np.ndarray
    """`[Q, 2]`: faceres' years and the loop's, rising."""
    faceapi_curve: np.ndarray
    """`[Q, 2]`: face-api's years and the loop's, rising."""
    same_person: float
    """Cosine of faceres' descriptors that one pair of different random persons in a thousand exceeds."""
    same_person_in_loop: float
    """The same of dlib's similarity."""
    residual_faceres: float
    """Standard deviation of a calibrated reading from the loop's, on faces left out of the fit, in years."""
    residual_faceapi: float
    residual_panel: float
    natural_age: np.ndarray
    """`[N]`: the loop's reading of unedited faces, in years."""
    natural_panel: np.ndarray
    """`[N]`: the panel's, calibrated."""
    natural_female: np.ndarray
    """`[N]`: probability of "female" by the loop's gender network."""
    natural_male: np.ndarray
    """`[N]`: probability of male, the mean of both independent judges."""
    seed: int
    psi: float

    def __post_init__(self) -> None:
        for name in ("faceres_curve", "faceapi_curve"):
            curve = getattr(self, name)
            if curve.ndim != 2 or curve.shape[1] != 2 or not (np.diff(curve, axis=0) > 0).all():
                raise AdfdError(f"calibration: {name} must rise in both columns")

    def years(self, judge: str, reading: np.ndarray | float) -> np.ndarray:
        """Readings of "faceres" or "faceapi" in the loop's years."""
        curve = getattr(self, f"{judge}_curve")
        return np.interp(np.asarray(reading), curve[:, 0], curve[:, 1])

    def supported(self, judge: str, reading: np.ndarray | float) -> np.ndarray:
        """Whether there were faces of such a reading to calibrate with."""
        curve = getattr(self, f"{judge}_curve")
        return (np.asarray(reading) >= curve[0, 0]) & (np.asarray(reading) <= curve[-1, 0])

    def panel(self, faceres: np.ndarray, faceapi: np.ndarray) -> np.ndarray:
        """The panel's age: the mean of both calibrated readings."""
        return (self.years("faceres", faceres) + self.years("faceapi", faceapi)) / 2

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Raises AdfdError where the file is missing or no calibration."""
        try:
            file = read_arrays(path)
            values: dict[str, Any] = {name: file[name].astype(np.float64) for name in ARRAYS}
            return cls(**values, **{name: file[name].item() for name in NUMBERS})
        except (AdfdError, OSError, KeyError, ValueError) as error:
            raise AdfdError(f"{path} is no calibration ({error}); make one with: make calibration") from error

    def save(self, path: Path) -> None:
        """Curves in full, faces in half precision."""
        arrays = {
            name: getattr(self, name).astype(np.float16 if name.startswith("natural") else np.float32)
            for name in ARRAYS
        }
        np.savez_compressed(path, allow_pickle=False, **arrays, **{n: np.array(getattr(self, n)) for n in NUMBERS})


@cache
def shipped() -> Calibration:
    """The calibration that ships, to dlib's years, from faces of the mobile generator."""
    return Calibration.load(SHIPPED)


def fit(bank: dict[str, np.ndarray]) -> Calibration:
    """From the readings that `adfd.evaluation.bank` keeps. Residuals are of every second face, fitted on the others."""
    age = bank["age_wide"].astype(np.float64)
    readings = {"faceres": bank["faceres_age"].astype(np.float64), "faceapi": bank["faceapi_age"].mean(axis=1)}
    half = np.arange(len(age)) % 2 == 0
    held_out = {}
    for judge, reading in readings.items():
        curve = equated(reading[half], age[half])
        held_out[judge] = np.interp(reading[~half], curve[:, 0], curve[:, 1])
    panel = np.mean(list(held_out.values()), axis=0)
    curves = {judge: equated(reading, age) for judge, reading in readings.items()}
    natural = np.mean([np.interp(readings[j], c[:, 0], c[:, 1]) for j, c in curves.items()], axis=0)
    descriptor = bank["faceres_descriptor"].astype(np.float64)
    descriptor /= np.linalg.norm(descriptor, axis=1, keepdims=True)
    embedding = bank["embedding"].astype(np.float64)
    square = (embedding**2).sum(axis=1)
    similarity = 1 - (square[:, None] + square[None] - 2 * embedding @ embedding.T) / 2
    return Calibration(
        faceres_curve=curves["faceres"],
        faceapi_curve=curves["faceapi"],
        same_person=threshold(descriptor @ descriptor.T),
        same_person_in_loop=threshold(similarity),
        residual_faceres=float(np.std(held_out["faceres"] - age[~half])),
        residual_faceapi=float(np.std(held_out["faceapi"] - age[~half])),
        residual_panel=float(np.std(panel - age[~half])),
        natural_age=bank["age"].astype(np.float64),
        natural_panel=natural,
        natural_female=bank["p_female"].astype(np.float64),
        natural_male=(bank["faceres_male"] + bank["faceapi_male"].mean(axis=1)) / 2,
        seed=int(bank["seed"]),
        psi=float(bank["psi"]),
    )


def equated(reading: np.ndarray, age: np.ndarray) -> np.ndarray:
    """A curve `[Q, 2]` through equal shares of readings `[N]` and ages `[N]`, closer together at the ends.

    Raises AdfdError where there are too few faces.
    """
    if len(reading) < 10 * FEWEST:
        raise AdfdError(f"a calibration needs at least {10 * FEWEST} faces, got {len(reading)}")
    end = FEWEST / len(reading)
    shares = end + (1 - 2 * end) * (1 - np.cos(np.linspace(0, np.pi, N_KNOTS))) / 2
    curve = np.stack([np.quantile(reading, shares), np.quantile(age, shares)], axis=1)
    rising = [0, *(i for i in range(1, N_KNOTS) if (curve[i] > curve[i - 1]).all())]
    return curve[rising]


def threshold(similarity: np.ndarray) -> float:
    """The similarity that a share `FALSE_MATCH_RATE` of pairs of different persons exceeds, from `[N, N]`."""
    return float(np.quantile(similarity[np.triu_indices(len(similarity), 1)], 1 - FALSE_MATCH_RATE))


def brackets(calibration: Calibration, edges: tuple[float, ...] = (0, 5, 15, 27, 40, 55, 65, 81)) -> list[str]:
    """The panel's deviation from the loop's reading, by that reading: a line for each bracket of years."""
    gap, lines = calibration.natural_panel - calibration.natural_age, []
    for low, high in pairwise(edges):
        inside = gap[(calibration.natural_age >= low) & (calibration.natural_age < high)]
        if len(inside) > 1:
            lines.append(f"{low:g}-{high:g} years: {len(inside)} faces, {inside.mean():+.1f}, sd {inside.std():.1f}")
    return lines


def main(arguments: list[str]) -> int:
    """Fit, save and print."""
    if len(arguments) < 2:
        print(__doc__)
        return 1
    calibration = fit(read_arrays(Path(arguments[0])))
    calibration.save(Path(arguments[1]))
    print(f"{len(calibration.natural_age)} faces")
    print("\n".join(f"{name} {getattr(calibration, name):.3f}" for name in NUMBERS))
    print("\n".join(brackets(calibration)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
