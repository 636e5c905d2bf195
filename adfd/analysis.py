"""Correlation analysis: random faces, what the judges read on them, and the channel statistics that follow."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from adfd.channels import Channels, age_coefficients, fit_age_path, id_coefficients, random_pairs
from adfd.models.networks import Networks
from adfd.pooling import pool


@torch.inference_mode()
def correlation_analysis(
    networks: Networks,
    *,
    n_samples: int,
    n_pairs: int,
    psi: float,
    seed: int,
    batch_size: int,
    on_batch: Callable[[int], None] = lambda n: None,
) -> Channels:
    """Sample `n_samples` faces at truncation `psi` and correlate their codes with estimated age and identity.

    coef_age[c] = |r(s_c, age)|; coef_id[c] = |r(|s_c(i) - s_c(j)|, identity distance of i and j)| over `n_pairs` random
    pairs; the age path is the ridge regression of age on w. `on_batch` is told the number of faces done. The result
    depends on the seed alone, not on `batch_size`.
    """
    z = torch.randn(n_samples, networks.generator.w_dim, generator=torch.Generator().manual_seed(seed))
    w = networks.generator.truncate(networks.mapping(z.to(networks.device)), psi)
    s = networks.affine(w)
    ages: list[Tensor] = []
    embeddings: list[Tensor] = []
    for part in s.split(batch_size):
        img = pool(networks.synthesis(part))
        ages.append(networks.age(img))
        embeddings.append(networks.embed(img))
        on_batch(len(part))
    s, age, embedding = s.cpu(), torch.cat(ages).cpu(), torch.cat(embeddings).cpu()
    age_year, age_r2 = fit_age_path(w.cpu(), age)
    return Channels(
        generator=networks.name,
        n_samples=n_samples,
        n_pairs=n_pairs,
        seed=seed,
        psi=psi,
        coef_age=age_coefficients(s, age),
        coef_id=id_coefficients(s, embedding, random_pairs(n_samples, n_pairs, seed)),
        s_mean=s.mean(dim=0),
        s_std=s.std(dim=0),
        age_year=age_year,
        age_r2=age_r2,
    )
