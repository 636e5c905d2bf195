"""Calibration of the independent judges on unedited faces: curves that map their ages to the scale of the age judge in
the loop, and the threshold on identity similarity.

Age networks differ in scale. A curve maps one scale to the other by equipercentile equating: a quantile of the
independent judge's readings maps to the same quantile of the loop's. Unlike a regression it preserves the spread.
(Kolen and Brennan, "Test Equating, Scaling, and Linking", 2014, chapter 2.) A curve ends where too few faces lie
beyond; outside it is constant, and `supported` is False.

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
"""Number of faces beyond either end of a curve."""
N_KNOTS = 25
CURVES = ("faceres_curve", "faceapi_curve")
RESIDUALS = ("residual_faceres", "residual_faceapi", "residual_panel")
NUMBERS = ("same_person", "same_person_in_loop", *RESIDUALS, "n_faces", "seed", "psi")


@dataclass(frozen=True, eq=False)
class Calibration:
    """Curves, thresholds and residuals of the independent judges, fitted on unedited faces."""

    faceres_curve: np.ndarray
    """`[Q, 2]`: faceres' ages and the corresponding ages of the loop's judge, in years, increasing."""
    faceapi_curve: np.ndarray
    """`[Q, 2]`: the same for face-api."""
    same_person: float
    """Cosine of faceres' descriptors that 1 in 1000 pairs of different random persons exceed."""
    same_person_in_loop: float
    """The same for dlib's identity similarity."""
    residual_faceres: float
    """Standard deviation, in years, of calibrated readings minus the loop's, on held-out faces; also the next two."""
    residual_faceapi: float
    residual_panel: float
    n_faces: int
    """Number of faces in the fit."""
    seed: int
    psi: float

    def __post_init__(self) -> None:
        for name in CURVES:
            curve = getattr(self, name)
            if curve.ndim != 2 or curve.shape[1] != 2 or not (np.diff(curve, axis=0) > 0).all():
                raise AdfdError(f"calibration: {name} must rise in both columns")

    def years(self, judge: str, reading: np.ndarray | float) -> np.ndarray:
        """Calibrated ages, in years on the loop's scale, for readings of the judge "faceres" or "faceapi"."""
        curve = getattr(self, f"{judge}_curve")
        return np.interp(np.asarray(reading), curve[:, 0], curve[:, 1])

    def supported(self, judge: str, reading: np.ndarray | float) -> np.ndarray:
        """True where a reading lies within the judge's curve."""
        curve = getattr(self, f"{judge}_curve")
        return (np.asarray(reading) >= curve[0, 0]) & (np.asarray(reading) <= curve[-1, 0])

    def panel(self, faceres: np.ndarray, faceapi: np.ndarray) -> np.ndarray:
        """The panel's age in years, the mean of both calibrated ages, from the judges' raw readings."""
        return (self.years("faceres", faceres) + self.years("faceapi", faceapi)) / 2

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read a calibration file. Raises AdfdError where it is missing or not a calibration."""
        try:
            file = read_arrays(path)
            values: dict[str, Any] = {name: file[name].astype(np.float64) for name in CURVES}
            return cls(**values, **{name: file[name].item() for name in NUMBERS})
        except (AdfdError, OSError, KeyError, ValueError) as error:
            raise AdfdError(f"{path} is no calibration ({error}); make one with: make calibration") from error

    def save(self, path: Path) -> None:
        arrays = {name: getattr(self, name).astype(np.float32) for name in CURVES}
        np.savez_compressed(path, allow_pickle=False, **arrays, **{n: np.array(getattr(self, n)) for n in NUMBERS})


@cache
def shipped() -> Calibration:
    """The calibration included in the package: to the scale of dlib's age judge, on faces of the mobile generator."""
    return Calibration.load(SHIPPED)


def fit(bank: dict[str, np.ndarray]) -> Calibration:
    """Fit a calibration to the readings in a bank. Residuals: on every second face, after a fit on the others."""
    age = bank["age_wide"].astype(np.float64)
    readings = {"faceres": bank["faceres_age"].astype(np.float64), "faceapi": bank["faceapi_age"].mean(axis=1)}
    half = np.arange(len(age)) % 2 == 0
    held_out = {}
    for judge, reading in readings.items():
        curve = equated(reading[half], age[half])
        held_out[judge] = np.interp(reading[~half], curve[:, 0], curve[:, 1])
    panel = np.mean(list(held_out.values()), axis=0)
    curves = {judge: equated(reading, age) for judge, reading in readings.items()}
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
        n_faces=len(age),
        seed=int(bank["seed"]),
        psi=float(bank["psi"]),
    )


def equated(reading: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Equating curve `[Q, 2]` through equal quantiles of readings `[N]` and ages `[N]`, more densely at the ends.
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
    """The similarity exceeded by a share `FALSE_MATCH_RATE` of pairs of different persons; `similarity` `[N, N]`."""
    return float(np.quantile(similarity[np.triu_indices(len(similarity), 1)], 1 - FALSE_MATCH_RATE))


def brackets(
    age: np.ndarray, panel: np.ndarray, edges: tuple[float, ...] = (0, 5, 15, 27, 40, 55, 65, 81)
) -> list[str]:
    """Lines of text: the panel's deviation from the loop's age, for each bracket of the loop's age."""
    gap, lines = panel - age, []
    for low, high in pairwise(edges):
        inside = gap[(age >= low) & (age < high)]
        if len(inside) > 1:
            lines.append(f"{low:g}-{high:g} years: {len(inside)} faces, {inside.mean():+.1f}, sd {inside.std():.1f}")
    return lines


def main(arguments: list[str]) -> int:
    """Fit a calibration, save it and print its numbers; returns the exit code."""
    if len(arguments) < 2:
        print(__doc__)
        return 1
    bank = read_arrays(Path(arguments[0]))
    calibration = fit(bank)
    calibration.save(Path(arguments[1]))
    print("\n".join(f"{name} {getattr(calibration, name):.3f}" for name in NUMBERS))
    panel = calibration.panel(bank["faceres_age"], bank["faceapi_age"].mean(axis=1))
    print("\n".join(brackets(bank["age_wide"], panel)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
