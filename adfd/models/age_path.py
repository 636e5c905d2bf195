"""The age transformer of a stack without a learned one: a straight path in the latent space."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adfd.basics.errors import AdfdError
from adfd.models.sources import Sources


class LatentAgePath(nn.Module):
    """Move a person's latent by a fixed step per year from the person's estimated age to the target age.

    Target ages below the estimated age use the step `younger_year`, if the channels file has one, all others `year`.
    Both steps are fitted by `adfd.analyze`. The judge reads children on this path too old and old people too young;
    the method guided corrects that.
    """

    year: Tensor

    younger_year: Tensor

    def __init__(self, year: Tensor | None, younger_year: Tensor | None = None) -> None:
        super().__init__()
        if year is None:
            raise AdfdError(
                "the channels file holds no age path, which this model's age transformer follows (the published "
                "coefficients come without one); use channels=fitted after: python -m adfd.analyze"
            )
        self.register_buffer("year", year)
        self.register_buffer("younger_year", year if younger_year is None else younger_year)

    def forward(self, sources: Sources, target_age: Tensor) -> Tensor:
        """`w_plus` `[N, L, 512]` of the sources at the target ages `[N]`, in years."""
        years = (target_age - sources.age)[:, None, None]
        return sources.w_plus + years * torch.where(years < 0, self.younger_year, self.year)
