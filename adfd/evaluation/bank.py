"""Unedited random faces, and what every judge reads on them: the data of calibration and of the line "natural faces".

python -m adfd.evaluation.bank FILE [n_faces]     of model=mobile; goes on where a file with fewer faces ends
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adfd.analysis.random_faces import latents
from adfd.basics.arrays import read_arrays
from adfd.basics.batching import row_by_row
from adfd.basics.files import atomic
from adfd.evaluation.panel import Panel, load_panel
from adfd.models.mobile import load_mobile
from adfd.models.networks import Networks
from adfd.models.views import Views

N_FACES = 3000
SEED = 11
PSI = 0.9
WIDE = Views(flip=True, shift=8, zooms=[0.88, 0.94, 1.06, 1.12])


@torch.no_grad()
def read(networks: Networks, panel: Panel, w: Tensor) -> dict[str, Tensor]:
    """All readings of faces `w` `[N, 512]`: `[N]` each, but for `embedding` `[N, 128]`, the four crops `[N, 4]` of
    face-api and the `descriptor` `[N, 1024]` of faceres."""
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
    }


def collect(networks: Networks, panel: Panel, path: Path, n_faces: int, psi: float = PSI, seed: int = SEED) -> None:
    """Read the first faces of a seed into a file, which is rewritten as it grows."""
    known = dict[str, np.ndarray]()
    if path.exists():
        known = {name: array for name, array in read_arrays(path).items() if array.ndim}
    start = len(known["w"]) if known else 0
    for rows, w in latents(networks, n_faces, psi, seed):
        if rows.stop <= start:
            continue
        parts = [read(networks, panel, part) for part in w[max(start - rows.start, 0) :].split(10)]
        new = {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}
        known = {name: np.concatenate([known[name], new[name]]) if known else new[name] for name in new}
        with atomic(path) as stream:
            np.savez_compressed(stream, allow_pickle=False, **known, seed=np.array(seed), psi=np.array(psi))
        print(f"{rows.stop} of {n_faces} faces", flush=True)


def main(arguments: list[str]) -> int:
    """Collect; the number of faces may follow the file."""
    if not arguments:
        print(__doc__)
        return 1
    n_faces = int(arguments[1]) if len(arguments) > 1 else N_FACES
    collect(load_mobile(), load_panel(), Path(arguments[0]), n_faces)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
