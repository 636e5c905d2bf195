"""Acceptance: which candidates become outputs. In-loop judges and statistics of the styles alone decide."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from adfd.basics.errors import AdfdError
from adfd.methods.anchors import Anchors
from adfd.models.networks import Networks
from adfd.stylespace.statistics import Channels


@dataclass(frozen=True)
class Acceptance:
    """What a candidate must keep of its anchor, and of nature."""

    check: bool
    """false: everything is accepted, and nothing is screened."""
    identity: float
    """Identity similarity to the anchor, at least."""
    age: float
    """Years between the age read on it and on the anchor, at most."""
    spread: float
    """Spread of the reading over the views, at most this many times what 90 % of natural faces of that age show."""
    gender: bool
    """Its reading must lie on the anchor's side of even odds; styles are screened for that before they are rendered."""
    rms: float
    """Root mean square of the styles in deviations of random faces' styles, at most."""

    def __post_init__(self) -> None:
        for key in ("age", "spread", "rms"):
            if not getattr(self, key) > 0:
                raise AdfdError(f"accept.{key} must be positive, got {getattr(self, key)}")
        if not self.identity <= 1:
            raise AdfdError(f"accept.identity must be at most 1, got {self.identity}")


@dataclass(frozen=True)
class Verdict:
    """What was read on a candidate, and by how much it fell short of each rule."""

    identity: float
    p_female: float
    rms: float | None
    excess: dict[str, float] = field(default_factory=dict)
    """Rules that it broke, by name, and how far beyond the limit it lies, in units of the limit."""

    @property
    def accepted(self) -> bool:
        return not self.excess

    @property
    def reason(self) -> str:
        """The rules that it broke; empty where it was accepted."""
        return ", ".join(self.excess)


@torch.no_grad()
def judge(
    networks: Networks, anchors: Anchors, row: int, s: Tensor, img: Tensor, age: float, spread: float, rules: Acceptance
) -> Verdict:
    """Judge a code `s` `[C]` with its pooled picture `[3, 256, 256]` and its reading against its anchor."""
    identity = networks.id_similarity(networks.embed(img[None])[0], anchors.embedding[row]).item()
    p_female = networks.gender(img[None]).exp()[0, 0].item()
    anchor_p = anchors.log_gender[row, 0].exp().item()
    rms = style_rms(networks, s)
    limit = natural_spread(networks.channels, float(anchors.age[row]))
    excess: dict[str, float] = {}
    if rules.check:
        gap = abs(age - float(anchors.age[row]))
        broken = {
            "identity": (rules.identity - identity) / 0.1,
            "age": gap / rules.age - 1,
            "spread": 0.0 if limit is None else spread / (rules.spread * limit) - 1,
            "gender": abs(p_female - anchor_p) if rules.gender and (p_female > 0.5) != (anchor_p > 0.5) else 0.0,
            "rms": 0.0 if rms is None else rms / rules.rms - 1,
        }
        excess = {name: by for name, by in broken.items() if not by <= 0}  # NaN breaks a rule too
    return Verdict(identity, p_female, rms, excess)


def natural_spread(channels: Channels | None, age: float) -> float | None:
    """Spread that 90 % of natural faces of an age stay below, in years; None where nobody measured it."""
    if channels is None or channels.natural_spread is None or channels.natural_age is None:
        return None
    return float(np.interp(age, channels.natural_age.tolist(), channels.natural_spread.tolist()))


def style_rms(networks: Networks, s: Tensor) -> float | None:
    """Root mean square over the convolution channels of a code's deviation from the mean style, in deviations."""
    if networks.channels is None or networks.channels.s_std is None:
        return None
    deviation = (s - networks.s_mean) / networks.channels.s_std.to(s).clamp_min(1e-6)
    return deviation[networks.conv_mask].square().mean().sqrt().item()


def same_side(channels: Channels | None, w: Tensor, p_female: float) -> bool:
    """Whether a style's latent `[512]` reads as the gender of the anchor; True where there is no readout."""
    if channels is None or channels.gender_readout is None or channels.gender_bias is None:
        return True
    reads = float(w @ channels.gender_readout.to(w)) + channels.gender_bias
    return (reads > 0) == (p_female > 0.5)
