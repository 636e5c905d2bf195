"""The age transformer of a stack without a learned one: a straight path in the latent space."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adfd.basics.errors import AdfdError
from adfd.models.sources import Sources
from adfd.stylespace.statistics import Channels


class LatentAgePath(nn.Module):
    """Move a person's latent by a fixed step per year from the person's estimated age to the target age.

    Target ages below the estimated age use the step `younger_year`, those above it `older_year`, and both `age_year`
    where the channels file lacks them. `adfd.analyze` fits all three. The judge reads children on this path too old and
    old people too young; the method guided corrects that. Raises AdfdError where the channels file has no path.
    """

    younger_year: Tensor
    older_year: Tensor

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        year, younger, older = channels.age_year, channels.younger_year, channels.older_year
        if year is None:
            raise AdfdError(
                "the channels file holds no age path, which this model's age transformer follows (the published "
                "coefficients come without one); use channels=fitted after: python -m adfd.analyze"
            )
        self.register_buffer("younger_year", year if younger is None else younger)
        self.register_buffer("older_year", year if older is None else older)

    def forward(self, sources: Sources, target_age: Tensor) -> Tensor:
        """`w_plus` `[N, L, 512]` of the sources at the target ages `[N]`, in years."""
        years = (target_age - sources.age)[:, None, None]
        return sources.w_plus + years * torch.where(years < 0, self.younger_year, self.older_year)
