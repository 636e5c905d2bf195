"""Random faces for the analyses: a seed gives the same faces in every analysis; a larger sample begins with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from adfd.analysis.shards import parts
from adfd.basics.errors import AdfdError
from adfd.models.networks import Networks
from adfd.stylespace.statistics import Channels

SHARD = 250
"""Faces per shard; pairs and permutations are drawn within a shard, and an interruption loses at most one shard."""
STYLES = 2000  # faces for the mean and deviation of the styles, which need no picture


def check_psi(psi: float) -> None:
    """Raise AdfdError where `psi` is not a truncation in 0..1, above 0."""
    if not 0 < psi <= 1:
        raise AdfdError(f"analysis.psi must lie in 0..1 and above 0, got {psi}")


def latents(networks: Networks, n: int, psi: float, seed: int) -> Iterator[tuple[range, Tensor]]:
    """The first `n` random faces of a seed, shard by shard: their indices and `w` `[n, 512]`, truncated by `psi`."""
    stream = torch.Generator().manual_seed(seed)
    for rows in parts(n, SHARD):
        z = torch.randn(len(rows), networks.generator.w_dim, generator=stream).to(networks.device)
        with torch.inference_mode():
            yield rows, networks.generator.truncate(networks.mapping(z), psi)


def faces(networks: Networks, n: int, psi: float, seed: int) -> Tensor:
    """The first `n` random faces of a seed: `w` `[n, 512]`, truncated by `psi`."""
    return torch.cat([w for _, w in latents(networks, n, psi, seed)])


def known_channels(networks: Networks, psi: float, seed: int) -> Channels:
    """The networks' channel statistics, completed by mean and deviation of the styles where these are missing."""
    if networks.channels is not None and networks.channels.s_std is not None:
        return networks.channels
    with torch.inference_mode():
        s = networks.affine(faces(networks, STYLES, psi, seed)).double().cpu()
    known = networks.channels or Channels(networks.name, seed=seed, psi=psi)
    return replace(known, s_mean=s.mean(dim=0).float(), s_std=s.std(dim=0).float())
