"""Readings of all judges on unedited random faces: the data for the calibration and the table row "natural faces".

python -m adfd.evaluation.bank FILE [n_faces psi seed]        random faces of model=mobile; continues an existing file
python -m adfd.evaluation.bank FILE n_faces psi seed BANK     the youngest and oldest of many faces, selected by latents
                                                              with a regression of age on the latents in BANK
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adfd.analysis.random_faces import faces, latents
from adfd.basics.arrays import read_arrays
from adfd.basics.batching import row_by_row
from adfd.basics.files import atomic
from adfd.evaluation.panel import Panel, load_panel
from adfd.models.mobile import load_mobile
from adfd.models.networks import Networks
from adfd.models.vgg16 import VggFeatures, load_vgg16
from adfd.models.views import Views

N_FACES = 1750
SEED = 11
PSI = 0.9
RIDGE = 0.1
"""Ridge penalty, as a fraction of the mean variance of the latents' coordinates."""
OF_MANY = 16
ENDS_SHARD = 50
WIDE = Views(flip=True, shift=8, zooms=[0.88, 0.94, 1.06, 1.12], features=0)
FEATURES = 0.5
"""Weight of the second reading of the age. Both as conf/views/wide.yaml has them."""


@torch.no_grad()
def read(networks: Networks, panel: Panel, vgg16: VggFeatures, w: Tensor) -> dict[str, Tensor]:
    """Render faces `w` `[N, 512]` and read all judges on them.

    Arrays are `[N]`, except `embedding` `[N, 128]`, face-api's four crops `[N, 4]`, faceres' `descriptor` `[N, 1024]`
    and the features `[N, 512]` of `vgg16`.
    """
    img = networks.render(networks.affine(w))
    mean, spread = WIDE.read(networks.age, img)
    faceres, faceapi = panel.faceres(img), panel.faceapi(img)
    return {
        "w": w,
        "age": row_by_row(networks.age, img),
        "age_wide": mean,
        "spread_wide": spread,
        "age_default": torch.lerp(mean, networks.age_from_features(img), FEATURES),
        "embedding": row_by_row(networks.embed, img),
        "p_female": networks.gender(img).exp()[:, 0],
        "faceres_age": faceres.age,
        "faceres_male": faceres.male,
        "faceres_descriptor": faceres.descriptor,
        "faceapi_age": faceapi.age,
        "faceapi_male": faceapi.male,
        "vgg16": vgg16(img),
    }


def readout(w: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Ridge regression of ages `[N]` on latents `[N, 512]`: coefficients `[512]` for centred latents."""
    centred = w - w.mean(axis=0)
    gram = centred.T @ centred
    penalty = RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram + penalty, centred.T @ (age - age.mean()))


def ends(
    networks: Networks, n_faces: int, psi: float, seed: int, weights: np.ndarray
) -> Iterator[tuple[range, Tensor]]:
    """The `n_faces / 2` youngest and oldest of `OF_MANY` times as many random faces, by the `readout` of their latents.

    Among random faces only one in a hundred is about 70 years old. Young and old faces alternate; they come shard by
    shard: indices and `w` `[n, 512]`.
    """
    w = faces(networks, OF_MANY * n_faces, psi, seed)
    order = torch.from_numpy(w.cpu().numpy() @ weights).argsort()
    half = n_faces // 2
    chosen = torch.stack([order[:half], order[-half:].flip(0)], dim=1).flatten()
    for start in range(0, len(chosen), ENDS_SHARD):
        rows = range(start, min(start + ENDS_SHARD, len(chosen)))
        yield rows, w[chosen[rows.start : rows.stop]]


def collect(
    networks: Networks,
    panel: Panel,
    vgg16: VggFeatures,
    path: Path,
    drawn: Iterable[tuple[range, Tensor]],
    n_faces: int,
    psi: float,
    seed: int,
) -> None:
    """Read all judges on faces `drawn` as indices and `w`; the file at `path` is rewritten after each shard."""
    known = dict[str, np.ndarray]()
    if path.exists():
        known = {name: array for name, array in read_arrays(path).items() if array.ndim}
    start = len(known["w"]) if known else 0
    for rows, w in drawn:
        if rows.stop <= start:
            continue
        parts = [read(networks, panel, vgg16, part) for part in w[max(start - rows.start, 0) :].split(10)]
        new = {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}
        known = {name: np.concatenate([known[name], new[name]]) if known else new[name] for name in new}
        with atomic(path) as stream:
            np.savez_compressed(stream, allow_pickle=False, **known, seed=np.array(seed), psi=np.array(psi))
        print(f"{rows.stop} of {n_faces} faces", flush=True)


def main(arguments: list[str]) -> int:
    """Run the command of the module's docstring; returns the exit code."""
    if not arguments:
        print(__doc__)
        return 1
    given = dict(zip(("n_faces", "psi", "seed"), arguments[1:], strict=False))
    n_faces, psi, seed = int(given.get("n_faces", N_FACES)), float(given.get("psi", PSI)), int(given.get("seed", SEED))
    networks = load_mobile()
    drawn = latents(networks, n_faces, psi, seed)
    if len(arguments) > 4:
        bank = read_arrays(Path(arguments[4]))
        drawn = ends(networks, n_faces, psi, seed, readout(bank["w"], bank["age_wide"]))
    collect(networks, load_panel(), load_vgg16(), Path(arguments[0]), drawn, n_faces, psi, seed)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
