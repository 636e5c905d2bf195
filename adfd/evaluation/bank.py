"""Unedited random faces, and what every judge reads on them: the data of calibration and of the line "natural faces".

python -m adfd.evaluation.bank FILE [n_faces psi seed]        of model=mobile; goes on where a file with fewer ends
python -m adfd.evaluation.bank FILE n_faces psi seed BANK     the youngest and oldest of many, by BANK's latents
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
"""Of the mean variance of the latents' directions."""
OF_MANY = 16
ENDS_SHARD = 50
WIDE = Views(flip=True, shift=8, zooms=[0.88, 0.94, 1.06, 1.12])


@torch.no_grad()
def read(networks: Networks, panel: Panel, vgg16: VggFeatures, w: Tensor) -> dict[str, Tensor]:
    """All readings of faces `w` `[N, 512]`: `[N]` each, but for `embedding` `[N, 128]`, the four crops `[N, 4]` of
    face-api, the `descriptor` `[N, 1024]` of faceres and the features `[N, 512]` of `vgg16`."""
    img = networks.render(networks.affine(w))
    mean, spread = WIDE.read(networks.age, img)
    faceres, faceapi = panel.faceres(img), panel.faceapi(img)
    return {
        "w": w,
        "age": row_by_row(networks.age, img),
        "age_wide": mean,
        "spread_wide": spread,
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
    """Weights `[512]` by which latents `[N, 512]`, less their mean, tell ages best: ridge regression."""
    centred = w - w.mean(axis=0)
    gram = centred.T @ centred
    penalty = RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram + penalty, centred.T @ (age - age.mean()))


def ends(
    networks: Networks, n_faces: int, psi: float, seed: int, weights: np.ndarray
) -> Iterator[tuple[range, Tensor]]:
    """Of `OF_MANY` times as many random faces the youngest and the oldest half by a readout of their latents.

    Faces of 70 are one in a hundred otherwise. They come in turns, shard by shard, as `latents` gives them.
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
    """Read faces, which come as their numbers and `w`, into a file, which is rewritten as it grows."""
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
    """Collect; number of faces, truncation and seed may follow the file."""
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
