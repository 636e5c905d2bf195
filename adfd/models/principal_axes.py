"""Principal axes of W, along which latents are moved where faces lie."""

from __future__ import annotations

import torch
from torch import Tensor

from adfd.models.networks import Networks

N_LATENTS = 4096
"""Number of random latents from which the principal axes of W are estimated."""


def principal_axes(networks: Networks) -> Tensor:
    """Principal axes of W as rows, `[512, 512]`, each as long as the standard deviation of random latents along it."""
    z = torch.randn(N_LATENTS, networks.generator.w_dim, generator=torch.Generator().manual_seed(0))
    w = networks.mapping(z.to(networks.device)) - networks.generator.w_avg
    variances, axes = torch.linalg.eigh(w.T @ w / len(w))
    return variances.clamp_min(0).sqrt()[:, None] * axes.T
