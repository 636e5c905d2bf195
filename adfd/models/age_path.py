"""The age transformer of a stack without a learned one: a path in W, limited to the styles of natural faces."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adfd.basics.batching import row_by_row
from adfd.basics.errors import AdfdError
from adfd.models.networks import Generator, mean_style
from adfd.models.sources import Sources
from adfd.stylespace.statistics import Channels


class LatentAgePath(nn.Module):
    """Move a person's latent by a fixed step per year from the person's estimated age to the target age.

    Target ages below the estimated age use the step `younger_year`, those above it `older_year`, and both `age_year`
    where the channels file lacks them. `adfd.analyze` fits all three. The estimated ages of renderings on this path are
    too high at young target ages and too low at old ones; the method guided corrects that. Raises AdfdError where the
    channels file has no path.
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
        return sources.w_plus + self.shift(sources, target_age)

    def shift(self, sources: Sources, target_age: Tensor) -> Tensor:
        """Change of the sources' latents from their estimated ages to the target ages, `[N, 1, 512]`."""
        years = (target_age - sources.age)[:, None, None]
        return years * torch.where(years < 0, self.younger_year, self.older_year)


class NaturalAgePath(LatentAgePath):
    """The same path, limited to the range of natural faces.

    A long step on the straight path, added to a person who is already far from the mean face, gives oversaturated
    colours and exaggerated wrinkles. Where the root mean square of the styles would exceed `rms`, in standard
    deviations of random faces' styles over the convolution channels, the person's own difference from the mean latent
    is scaled down until it does not, or to where it is smallest. For a person whose source exceeds `rms`, the source's
    root mean square is the limit. Raises AdfdError where the channels file has no standard deviations of the styles.
    """

    scale: Tensor
    centre: Tensor
    s_mean: Tensor

    def __init__(self, channels: Channels, generator: Generator, rms: float) -> None:
        super().__init__(channels)
        if not rms > 0:
            raise AdfdError(f"model.path_rms must be positive, or null for no limit; got {rms}")
        if channels.s_std is None:
            raise AdfdError(
                "model.path_rms needs s_std, and the channels file is without it; make it with: "
                "python -m adfd.analyze analysis=correlation, or take model.path_rms=null"
            )
        self.generator, self.rms = (generator,), rms  # a tuple, so that the generator is not registered as a submodule
        mask = generator.space.conv_mask
        self.register_buffer("scale", mask / (channels.s_std.clamp_min(1e-6) * mask.sum().sqrt()))
        self.register_buffer("centre", generator.affine(generator.w_avg[None])[0].detach())
        self.register_buffer("s_mean", mean_style(generator, channels))

    def forward(self, sources: Sources, target_age: Tensor) -> Tensor:
        """`w_plus` `[N, L, 512]` of the sources at the target ages `[N]`, in years."""
        (generator,) = self.generator
        w_avg, shift = generator.w_avg, self.shift(sources, target_age)
        own = self.scale * (row_by_row(generator.affine, sources.w_plus) - self.centre)
        rest = self.scale * (row_by_row(generator.affine, (w_avg + shift).expand_as(sources.w_plus)) - self.s_mean)
        start = own + self.scale * (self.centre - self.s_mean)
        limit = start.square().sum(dim=1).clamp_min(self.rms**2)
        beyond = rest.square().sum(dim=1) - limit
        share = largest_share(own.square().sum(dim=1), (own * rest).sum(dim=1), beyond)[:, None, None]
        return torch.where(share == 1, sources.w_plus, w_avg + share * (sources.w_plus - w_avg)) + shift


def largest_share(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The largest `x` in 0..1 with a x^2 + 2 b x + c at most 0, elementwise; without one, the `x` of the least value.

    With a = |v|^2, b = u v and c = |u|^2 - r^2, it is how far u + x v may go along v within a distance r.
    """
    a = a.clamp_min(1e-12)
    root = (b.square() - a * c).clamp_min(0).sqrt()  # without a solution, x is where the value is smallest
    return torch.where(a + 2 * b + c <= 0, 1.0, ((root - b) / a).clamp(0, 1))


def age_path(channels: Channels | None, generator: Generator, rms: float | None) -> LatentAgePath | None:
    """The age path of `channels`, limited by `rms`, or straight where that is None; None without channel statistics."""
    if channels is None:
        return None
    return LatentAgePath(channels) if rms is None else NaturalAgePath(channels, generator, rms)
