"""The panel of independent judges: networks for age, gender and identity that no loss and no search uses.

Rooms below `evaluation` may not import the panel or its networks (`tests/test_architecture.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adfd.basics.errors import AdfdError
from adfd.models import fetch
from adfd.models.faceapi import Faceapi, load_faceapi
from adfd.models.faceres import Faceres, load_faceres

FILES = {
    Faceres.name: (fetch.FACERES_GRAPH, fetch.FACERES),
    Faceapi.name: (fetch.FACEAPI_MANIFEST, fetch.FACEAPI),
}
"""Weight files of each judge."""


@dataclass(frozen=True)
class PanelReading:
    """The panel's raw readings of N faces, each judge on its own scale."""

    faceres_age: Tensor
    """`[N]`, in faceres' years."""
    faceapi_age: Tensor
    """`[N]`, in face-api's years, the mean of four crops."""
    faceres_male: Tensor
    """`[N]`, probability."""
    faceapi_male: Tensor
    """`[N]`, probability, the mean of four crops."""
    descriptor: Tensor
    """`[N, 1024]`, faceres' identity descriptor, compared by cosine."""

    @classmethod
    def join(cls, parts: list[PanelReading]) -> PanelReading:
        """Concatenate batches."""
        names = ("faceres_age", "faceapi_age", "faceres_male", "faceapi_male", "descriptor")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


class Panel(nn.Module):
    """Both networks together: `panel.read(img)` reads FFHQ-aligned images `[N, 3, H, W]` in [-1, 1]."""

    def __init__(self, faceres: Faceres, faceapi: Faceapi) -> None:
        super().__init__()
        self.faceres, self.faceapi = faceres, faceapi

    @torch.no_grad()
    def read(self, img: Tensor, batch_size: int = 8) -> PanelReading:
        """Readings of images `[N, 3, H, W]`, `batch_size` at a time."""
        parts = []
        for part in img.split(batch_size):
            one, other = self.faceres(part), self.faceapi(part)
            means = other.age.mean(dim=1), other.male.mean(dim=1)
            parts.append(PanelReading(one.age, means[0], one.male, means[1], one.descriptor))
        return PanelReading.join(parts)

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """Cosine `[...]` of descriptors `[..., 1024]`; 1 for identical faces."""
        return self.faceres.similarity(a, b)


def missing() -> tuple[str, ...]:
    """Names of the independent judges whose files are not in the cache folder."""
    return tuple(name for name, files in FILES.items() if not all(file.is_there() for file in files))


def load_panel() -> Panel:
    """The panel from the cache folder. Raises AdfdError where a file is missing or damaged."""
    if absent := missing():
        raise AdfdError(f"the independent judges {' and '.join(absent)} are missing; {fetch.REMEDY}")
    return Panel(load_faceres(), load_faceapi())
