"""Channel weights `m`: which channels a perturbation changes, and by how much."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from adfd.basics.errors import AdfdError
from adfd.stylespace.layout import StyleSpace
from adfd.stylespace.regions import REGIONS, region_areas
from adfd.stylespace.statistics import Channels

KINDS = ("paper", "causal", "sensitivity", "top_k", "fdr")
RATIO_OF_FULL_WEIGHT = 0.95  # quantile of the channels' ratios above which the weight is 1


@dataclass(frozen=True)
class ChannelWeights:
    """Settings by which channel weights are computed from channel statistics. Raises AdfdError for impossible ones."""

    weights: str
    """paper: min-max of coef_age + (1 - coef_id). causal: the same with the intervention's age slopes and identity
    changes, each divided by its largest; 0 on channels that the intervention did not move. sensitivity: how much a
    channel changes face and hair, over how much it changes the identity embedding; relative to the 95 % quantile of
    these ratios, at most 1. top_k: the paper's weights on the `top_k` channels where they are largest, else 0. fdr: the
    paper's weights on channels whose coef_age is significant at the false discovery rate `fdr`, else 0."""
    top_k: int
    fdr: float
    exponent: float
    """Exponent of the weights: above 1 favours channels that depend on age alone, 0 makes all weights equal."""
    to_rgb: bool
    """Whether toRGB channels get weights; otherwise theirs are 0, as published."""
    regions: list[str]
    """Keep only channels for which these regions have a share of at least `min_share`; empty keeps all channels."""
    exclude_regions: list[str]
    """Drop channels for which these regions have a share of at least `min_share`."""
    min_share: float
    """Threshold on the regions' share in the squared change of all pixels."""

    def __post_init__(self) -> None:
        if self.weights not in KINDS:
            raise AdfdError(f"channels.weights must be one of {', '.join(KINDS)}, got {self.weights}")
        if self.top_k < 1:
            raise AdfdError(f"channels.top_k must be at least 1, got {self.top_k}")
        if not 0 < self.fdr < 1:
            raise AdfdError(f"channels.fdr must lie between 0 and 1, got {self.fdr}")
        if not 0 <= self.exponent < math.inf:
            raise AdfdError(f"channels.exponent must be a number of at least 0, got {self.exponent}")
        if not 0 < self.min_share <= 1:
            raise AdfdError(f"channels.min_share must lie in 0..1 and above 0, got {self.min_share}")
        for key in ("regions", "exclude_regions"):
            for name in getattr(self, key):
                if name not in REGIONS:
                    raise AdfdError(f"channels.{key} must be of {', '.join(REGIONS)}, got {name}")


def channel_weights(channels: Channels, space: StyleSpace, settings: ChannelWeights) -> Tensor:
    """Channel weights `m` `[C]` in 0..1.

    Raises AdfdError where the channels file lacks statistics that the settings need, or no channel is left.
    """
    allowed = torch.ones(space.n_channels, dtype=torch.bool) if settings.to_rgb else space.conv_mask
    if settings.weights == "sensitivity":
        m = _appearance_per_identity(channels, allowed)
    else:
        score = _causal_score(channels) if settings.weights == "causal" else _paper_score(channels)
        allowed = allowed & ~score.isnan()
        m = torch.where(allowed, _min_max(score, allowed), 0.0)
    if settings.weights == "top_k":
        kept = torch.zeros_like(allowed)
        kept[m.topk(min(settings.top_k, len(m))).indices] = True
        m = m * kept
    if settings.weights == "fdr":
        m = m * channels.significant("age", settings.fdr)
    m = torch.where(m > 0, m.pow(settings.exponent), 0.0)
    if settings.regions:
        m = m * (_share(channels, settings.regions) >= settings.min_share)
    if settings.exclude_regions:
        m = m * (_share(channels, settings.exclude_regions) < settings.min_share)
    if not m.any():
        raise AdfdError(
            f"no channel of {channels.generator} is left with channels.weights={settings.weights}, "
            f"regions={settings.regions}, exclude_regions={settings.exclude_regions}; lower channels.min_share"
        )
    return m


def _min_max(score: Tensor, among: Tensor) -> Tensor:
    low, high = score[among].min(), score[among].max()
    return (score - low) / (high - low)


def _paper_score(channels: Channels) -> Tensor:
    if channels.coef_age is None or channels.coef_id is None:
        raise AdfdError(_lacks(channels, "channels.weights=paper", "correlation"))
    return channels.coef_age + (1 - channels.coef_id)


def _causal_score(channels: Channels) -> Tensor:
    if channels.slope_age is None or channels.id_change is None:
        raise AdfdError(_lacks(channels, "channels.weights=causal", "intervention"))
    slope, change = channels.slope_age.abs(), channels.id_change
    moved = ~slope.isnan()
    return slope / slope[moved].max() + 1 - change / change[moved].max()


def _appearance_per_identity(channels: Channels, among: Tensor) -> Tensor:
    if channels.region_sensitivity is None or channels.sensitivity_id is None:
        raise AdfdError(f"{_lacks(channels, 'channels.weights=sensitivity', 'sensitivity')}, or channels.weights=paper")
    face = [number for number, name in enumerate(REGIONS) if name != "background"]
    change = _squared_change(channels.region_sensitivity)[:, face].sum(dim=1).sqrt()
    ratio = change / channels.sensitivity_id.clamp_min(1e-12)
    return torch.where(among, (ratio / ratio[among].quantile(RATIO_OF_FULL_WEIGHT)).clamp_max(1), 0.0)


def _share(channels: Channels, regions: list[str]) -> Tensor:
    """Share `[C]` of regions in the squared change of all pixels; 0 for channels that were not measured."""
    if channels.region_sensitivity is None:
        raise AdfdError(_lacks(channels, "channels.regions", "sensitivity"))
    change = _squared_change(channels.region_sensitivity)
    chosen = [REGIONS.index(name) for name in regions]
    return (change[:, chosen].sum(dim=1) / change.sum(dim=1)).nan_to_num(nan=0.0)


def _squared_change(region_sensitivity: Tensor) -> Tensor:
    """Each region's part of the mean squared change of all pixels: `[C, 7]`."""
    return region_sensitivity.square() * region_areas()


def _lacks(channels: Channels, wish: str, analysis: str) -> str:
    return (
        f"{wish} needs what analysis={analysis} measures, and the channels file of {channels.generator} is without it; "
        f"make it with: python -m adfd.analyze analysis={analysis}"
    )
