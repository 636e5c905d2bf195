"""KID: the distance between the distribution of outputs and that of unedited faces of their age, with standard error.

The squared maximum mean discrepancy of features under the kernel (x . y / d + 1)^3 (Binkowski et al., "Demystifying MMD
GANs", ICLR 2018), unbiased for any number of pictures. Two differences from the paper must be stated with every number:
the features are those of VGG-16's last convolutions at 128 px, not Inception's, scaled to a root mean square of 1; and
pairs of outputs of the same photo are excluded, since they are similar even where the outputs look natural.
FID is not available: the covariance of 512 features needs more outputs than features.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adfd.basics.errors import AdfdError
from adfd.evaluation import natural
from adfd.evaluation.bootstrap import Bootstrap
from adfd.evaluation.metrics import PhotoMean
from adfd.evaluation.natural import Natural

FEWEST = 20
"""Fewest unedited faces near an age for which KID is computed."""
SHOWN = 1000
"""Factor by which the reported KID is multiplied."""


def packed(features: Tensor) -> str:
    """Features `[512]` as text, in half precision."""
    return base64.b64encode(features.cpu().numpy().astype(np.float16).tobytes()).decode()


def unpacked(text: str) -> np.ndarray:
    """The features `[512]` in a text from `packed`. Raises AdfdError where the text is damaged."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), np.float16).astype(np.float64)
    except (binascii.Error, ValueError) as error:
        raise AdfdError(f"features of a measured picture are damaged ({error}); delete measurements.jsonl") from error


class KernelDistance(PhotoMean):
    """KID times 1000 between outputs and unedited faces within 5 years of the target age, averaged over target ages.

    NaN for fewer than two photos, or where no target age has enough unedited faces.
    """

    higher_is_better = False

    def __init__(self, reference: Callable[[], Natural] = natural.shipped, **options: Any) -> None:
        super().__init__(**options)
        self.reference = reference

    def update(self, photo: Tensor, features: Tensor, target_age: Tensor) -> None:  # type: ignore[override]
        """Photos `[N]`, features `[N, 512]` and target ages `[N]`, in years."""
        self.photos.append(photo.long())
        self.values.append(torch.cat([features.double(), target_age.double()[:, None]], dim=1))

    def compute(self) -> Tensor:
        return torch.tensor(self.estimate()[0], dtype=torch.double)

    def spread(self) -> float:
        """The standard error of KID, which has no deviation over outputs, since it is a property of the set."""
        return self.estimate()[1]

    def interval(self, bootstrap: Bootstrap) -> tuple[float, float]:
        """Normal interval from the standard error; bootstrap resamples would contain pairs of identical pictures."""
        mean, error = self.estimate()
        width = NormalDist().inv_cdf((1 + bootstrap.confidence) / 2) * error
        return mean - width, mean + width

    def estimate(self) -> tuple[float, float]:
        """KID and its standard error by jackknife over photos and over unedited faces."""
        photo, values = torch.cat(list(self.photos)).numpy(), self.per_output.numpy()
        known = self.reference()
        scale = np.sqrt((known.features**2).mean())
        parts = []
        for age in np.unique(values[:, -1]):
            rows, near = values[:, -1] == age, known.near(age)
            if len(near) >= FEWEST and len(set(photo[rows])) > 1:
                parts.append((photo[rows], values[rows, :-1] / scale, known.features[near] / scale))
        if not parts:
            return np.nan, np.nan
        return combined([left_out(*part) for part in parts], np.unique(photo))


def combined(parts: list[tuple[float, dict[int, float], np.ndarray]], photos: np.ndarray) -> tuple[float, float]:
    """Mean of KID over ages, and its two-sample jackknife standard error; a photo is left out at all ages at once."""
    mean = float(np.mean([whole for whole, _, _ in parts]))
    without = np.array([np.mean([of_photo.get(p, whole) for whole, of_photo, _ in parts]) for p in photos])
    variance = jackknifed(without)
    variance += sum(jackknifed(of_face) for _, _, of_face in parts) / len(parts) ** 2
    return SHOWN * mean, SHOWN * float(np.sqrt(variance))


def jackknifed(without: np.ndarray) -> float:
    """Jackknife variance of an estimate from its leave-one-out values (Efron and Tibshirani, 1993, chapter 11)."""
    without = without[np.isfinite(without)]
    n = len(without)
    return float((n - 1) / n * ((without - without.mean()) ** 2).sum()) if n > 1 else np.nan


def left_out(photo: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, dict[int, float], np.ndarray]:
    """KID between outputs `x` `[N, D]` of photos `photo` `[N]` and faces `y` `[M, D]`.

    Also its values with each photo left out, by photo, and with each face left out, `[M]`.
    """
    apart = photo[:, None] != photo[None]
    xx, xy, yy = kernel(x, x) * apart, kernel(x, y), kernel(y, y)
    np.fill_diagonal(yy, 0)
    n, m = apart.sum(), len(y)

    def distance(of_xx: float, n_xx: float, of_yy: Any, n_yy: float, of_xy: Any, n_xy: float) -> Any:
        return of_xx / n_xx + of_yy / n_yy - 2 * of_xy / n_xy if n_xx else np.nan

    whole = distance(xx.sum(), n, yy.sum(), m * (m - 1), xy.sum(), xy.size)
    of_photo = {}
    for p in np.unique(photo):
        own = photo == p
        less_xx, less_n = xx.sum() - 2 * xx[own].sum(), n - 2 * apart[own].sum()
        rest = xy[~own]
        of_photo[int(p)] = distance(less_xx, less_n, yy.sum(), m * (m - 1), rest.sum(), rest.size)
    less_yy, less_xy = yy.sum() - 2 * yy.sum(axis=1), xy.sum() - xy.sum(axis=0)
    of_face = distance(xx.sum(), n, less_yy, (m - 1) * (m - 2), less_xy, len(x) * (m - 1))
    return float(whole), of_photo, of_face


def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cubic kernel `[N, M]` of features `[N, D]` and `[M, D]`."""
    return (a @ b.T / a.shape[1] + 1) ** 3
