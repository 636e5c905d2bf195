"""Acceptance: decide which candidates become outputs, by in-loop judges and statistics of the styles only."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from adfd.basics.errors import AdfdError
from adfd.methods.anchors import Anchors
from adfd.models.age_path import largest_share
from adfd.models.networks import Networks
from adfd.stylespace.statistics import Channels

BEYOND_ANCHOR = 1.1


@dataclass(frozen=True)
class Acceptance:
    """Limits on how far a candidate may differ from its anchor and from natural faces.

    Raises AdfdError for impossible ones.
    """

    check: bool
    """false: every candidate is accepted, and styles are not screened."""
    identity: float
    """Minimum identity similarity to the anchor."""
    age: float
    """Maximum difference between the estimated ages of candidate and anchor, in years."""
    spread: float
    """Maximum spread of the estimated age over the views, as a multiple of `natural_spread` at the anchor's age; no
    limit where that was not measured."""
    gender: bool
    """true: the gender judge must read the same gender on candidate and anchor; styles for which the linear readout
    predicts the other gender are skipped before rendering."""
    rms: float
    """Maximum of `style_rms`, in standard deviations of random faces' styles; no limit where not measured. Where the
    anchor itself is near the limit or beyond, as inverted photos often are, `BEYOND_ANCHOR` times the anchor's."""

    def __post_init__(self) -> None:
        for key in ("age", "spread", "rms"):
            if not getattr(self, key) > 0:
                raise AdfdError(f"accept.{key} must be positive, got {getattr(self, key)}")
        if not self.identity <= 1:
            raise AdfdError(f"accept.identity must be at most 1, got {self.identity}")


@dataclass(frozen=True)
class Verdict:
    """The readings of a candidate, and by how much it exceeds the limits of `Acceptance`."""

    identity: float
    p_female: float
    rms: float | None
    excess: dict[str, float] = field(default_factory=dict)
    """The excess over each limit that the candidate breaks, by the limit's name: relative to the limit for age, spread
    and rms, in units of 0.1 for identity, the difference of the probabilities for gender."""

    @property
    def accepted(self) -> bool:
        return not self.excess

    @property
    def reason(self) -> str:
        """Names of the limits that the candidate breaks; empty where it is accepted."""
        return ", ".join(self.excess)


@torch.no_grad()
def judge(
    networks: Networks, anchors: Anchors, row: int, s: Tensor, img: Tensor, age: float, spread: float, rules: Acceptance
) -> Verdict:
    """Judge a candidate against its anchor, which is row `row` of `anchors`.

    The candidate is given by its code `s` `[C]`, pooled picture `img` `[3, 256, 256]`, estimated `age` and its `spread`
    over the views, both in years.
    """
    identity = networks.id_similarity(networks.embed(img[None])[0], anchors.embedding[row]).item()
    p_female = networks.gender(img[None]).exp()[0, 0].item()
    anchor_p = anchors.log_gender[row, 0].exp().item()
    rms = style_rms(networks, s)
    limit = natural_spread(networks.channels, float(anchors.age[row]))
    excess: dict[str, float] = {}
    if rules.check:
        gap = abs(age - float(anchors.age[row]))
        natural = rms_limit(networks, anchors.s[row], rules)
        broken = {
            "identity": (rules.identity - identity) / 0.1,
            "age": gap / rules.age - 1,
            "spread": 0.0 if limit is None else spread / (rules.spread * limit) - 1,
            "gender": abs(p_female - anchor_p) if rules.gender and (p_female > 0.5) != (anchor_p > 0.5) else 0.0,
            "rms": 0.0 if rms is None else rms / natural - 1,
        }
        excess = {name: by for name, by in broken.items() if not by <= 0}  # NaN breaks a rule too
    return Verdict(identity, p_female, rms, excess)


def natural_spread(channels: Channels | None, age: float) -> float | None:
    """The spread in years that 90 % of natural faces of this age do not exceed; None where it was not measured."""
    if channels is None or channels.natural_spread is None or channels.natural_age is None:
        return None
    return float(np.interp(age, channels.natural_age.tolist(), channels.natural_spread.tolist()))


def style_rms(networks: Networks, s: Tensor) -> float | None:
    """Root mean square deviation of a code `s` `[C]` from the mean style, over the convolution channels.

    In standard deviations of random faces' styles; None where those were not measured.
    """
    deviation = _standardised(networks, s - networks.s_mean)
    return None if deviation is None else deviation.square().mean().sqrt().item()


def rms_limit(networks: Networks, s_anchor: Tensor, rules: Acceptance) -> float:
    """The largest `style_rms` that `rules` accept for candidates of the anchor `s_anchor` `[C]`."""
    return max(rules.rms, BEYOND_ANCHOR * (style_rms(networks, s_anchor) or 0.0))


def shortened(networks: Networks, s_anchor: Tensor, s: Tensor, limit: float) -> Tensor:
    """The code nearest to `s` `[C]` on the line from `s_anchor` `[C]` to it whose `style_rms` is at most `limit`.

    `s` itself where the deviations of random faces' styles were not measured. The anchor's own rms must be below
    `limit`.
    """
    start, step = _standardised(networks, s_anchor - networks.s_mean), _standardised(networks, s - s_anchor)
    if start is None or step is None:
        return s
    share = largest_share(step.square().mean(), (start * step).mean(), start.square().mean() - limit**2)
    return s if share == 1 else s_anchor + share * (s - s_anchor)


def _standardised(networks: Networks, difference: Tensor) -> Tensor | None:
    """A difference of codes `[C]` on the convolution channels, in standard deviations of random faces' styles."""
    if networks.channels is None or networks.channels.s_std is None:
        return None
    return (difference / networks.channels.s_std.to(difference).clamp_min(1e-6))[networks.conv_mask]


def same_side(channels: Channels | None, w: Tensor, p_female: float) -> bool:
    """Whether the linear gender readout of a style's latent `w` `[512]` gives the anchor's gender.

    `p_female` is the anchor's probability. True where the channel statistics hold no readout.
    """
    if channels is None or channels.gender_readout is None or channels.gender_bias is None:
        return True
    reads = float(w @ channels.gender_readout.to(w)) + channels.gender_bias
    return (reads > 0) == (p_female > 0.5)
