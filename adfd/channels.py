"""Which StyleSpace channels depend on age and which on identity: the statistics, their file, and the channel weights.

The paper defines the coefficients as correlations over random faces; its code ships only the result. The definitions
below are ours (spec in the docstrings).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adfd import published_channels
from adfd.errors import AdfdError
from adfd.stylespace import StyleSpace, stylegan2

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Channels:
    """Channel statistics of one generator over `n_samples` random faces at truncation `psi`.

    Of the analysis behind the published coefficients nothing else is known: all the rest is None.
    """

    generator: str
    n_samples: int | None
    n_pairs: int | None
    seed: int | None
    psi: float | None
    coef_age: Tensor
    """`[C]`, 0..1: |Pearson r| of a channel with the estimated age."""
    coef_id: Tensor
    """`[C]`, 0..1: |Pearson r| of a channel's absolute difference with the identity distance, over random pairs."""
    s_mean: Tensor | None
    """`[C]`"""
    s_std: Tensor | None
    """`[C]`"""
    age_year: Tensor | None
    """`[512]`: the step in W that adds one year to the age a linear model reads from `w`."""
    age_r2: float | None
    """Share of the variance of age that the linear model explains on held-out faces."""

    def save(self, path: Path) -> None:
        """Write an `.npz` of plain arrays."""
        arrays: dict[str, Any] = {key: np.asarray(value) for key, value in asdict(self).items()}
        np.savez_compressed(path, schema_version=np.asarray(SCHEMA_VERSION), **arrays)

    @classmethod
    def load(cls, path: Path, generator: str) -> Channels:
        """Read an `.npz`, or the `.pkl` of the paper's code; a folder stands for the file of this generator in it.

        Raises AdfdError where the file is missing, damaged, of another version or another generator.
        """
        remedy = "make one with: python -m adfd.analyze"
        if path.suffix == ".pkl":
            return _published(path, generator)
        if path.is_dir() or not path.suffix:
            path = path / f"{generator}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
        except FileNotFoundError:
            raise AdfdError(f"channels file {path} does not exist; {remedy}") from None
        except Exception as error:
            raise AdfdError(f"channels file {path} is not readable ({error}); {remedy}") from error
        version = arrays.pop("schema_version", None)
        names = {field.name for field in fields(cls)}
        if version != SCHEMA_VERSION or set(arrays) != names:
            raise AdfdError(f"channels file {path} has schema {version}, this program reads {SCHEMA_VERSION}; {remedy}")
        values: dict[str, Any] = {
            key: torch.from_numpy(array) if array.ndim else array.item() for key, array in arrays.items()
        }
        if values["generator"] != generator:
            raise AdfdError(
                f"channels file {path} was made for generator {values['generator']}, not {generator}; {remedy}"
            )
        return cls(**values)

    def weights(self, space: StyleSpace) -> Tensor:
        """Channel weights `[C]`: min-max of coef_age + (1 - coef_id) over the convolution channels, 0 on toRGB."""
        score = self.coef_age + (1 - self.coef_id)
        conv = score[space.conv_mask]
        weights = (score - conv.min()) / (conv.max() - conv.min())
        return weights * space.conv_mask


def _published(path: Path, generator: str) -> Channels:
    """The published coefficients, 0 on the toRGB channels, which nobody analysed."""
    space = stylegan2()
    table = published_channels.read(path)
    index = torch.from_numpy(table["index"].astype(np.int64))
    if not torch.equal(index, space.conv_mask.nonzero()[:, 0]):
        raise AdfdError(f"channels file {path} does not list the {int(space.conv_mask.sum())} convolution channels")
    if generator != published_channels.GENERATOR:
        raise AdfdError(
            f"channels file {path} was made for generator {published_channels.GENERATOR}, not {generator}; "
            "use channels=shipped, or channels=fitted after: python -m adfd.analyze"
        )

    def spread(values: np.ndarray) -> Tensor:
        return torch.zeros(space.n_channels).index_copy(0, index, torch.from_numpy(values.astype(np.float32)))

    coef_age, coef_id = spread(table["coef_age"]), spread(table["coef_id"])
    unknown = dict.fromkeys(("n_samples", "n_pairs", "seed", "psi", "s_mean", "s_std", "age_year", "age_r2"))
    return Channels(generator=generator, coef_age=coef_age, coef_id=coef_id, **unknown)


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson r of each column of `x` `[N, C]` with `y` `[N]`; 0 where either is constant. `[C]`."""
    x, y = x - x.mean(dim=0), y - y.mean()
    norm = x.norm(dim=0) * y.norm()
    return torch.where(norm > 0, y @ x / norm.clamp_min(torch.finfo(x.dtype).tiny), torch.zeros_like(norm))


def age_coefficients(s: Tensor, age: Tensor) -> Tensor:
    """coef_age `[C]` from codes `[N, C]` and ages `[N]`."""
    return correlation(s.double(), age.double()).abs().float()


def id_coefficients(s: Tensor, embedding: Tensor, pairs: Tensor, chunk: int = 1000) -> Tensor:
    """coef_id `[C]` from codes `[N, C]`, embeddings `[N, D]` and pairs `[P, 2]` of rows.

    Identity distance is the Euclidean distance of two embeddings. Sums run over chunks of pairs, so memory stays flat.
    """
    distance = (embedding[pairs[:, 0]] - embedding[pairs[:, 1]]).double().norm(dim=1)
    distance = distance - distance.mean()
    sum_x, sum_xx, sum_xy = (torch.zeros(s.shape[1], dtype=torch.float64) for _ in range(3))
    for rows, y in zip(pairs.split(chunk), distance.split(chunk), strict=True):
        x = (s[rows[:, 0]] - s[rows[:, 1]]).abs().double()
        sum_x += x.sum(dim=0)
        sum_xx += x.square().sum(dim=0)
        sum_xy += y @ x
    deviation = (sum_xx - sum_x.square() / len(pairs)).clamp_min(0).sqrt() * distance.norm()
    return torch.where(deviation > 0, sum_xy / deviation.clamp_min(1e-300), 0.0).abs().float()


def random_pairs(n: int, n_pairs: int, seed: int) -> Tensor:
    """Pairs of distinct rows below `n`, drawn with replacement; `[n_pairs, 2]`."""
    rng = torch.Generator().manual_seed(seed)
    first = torch.randint(n, (n_pairs,), generator=rng)
    second = (first + torch.randint(1, n, (n_pairs,), generator=rng)) % n
    return torch.stack([first, second], dim=1)


def fit_age_path(w: Tensor, age: Tensor, ridge: float = 100.0, held_out: float = 0.2) -> tuple[Tensor, float]:
    """Step in W per year `[512]`, and R2 on held-out faces, by ridge regression of age `[N]` on centred `w` `[N, 512]`.

    With direction d of the regression, one year is d / (d . d): the shortest step that the model reads as one year.
    """
    w, age = w.double(), age.double()
    n_fit = len(w) - int(held_out * len(w))
    direction = _ridge(w[:n_fit], age[:n_fit], ridge)
    predicted = (w[n_fit:] - w[:n_fit].mean(dim=0)) @ direction + age[:n_fit].mean()
    residual = (age[n_fit:] - predicted).square().sum() / (age[n_fit:] - age[n_fit:].mean()).square().sum()
    direction = _ridge(w, age, ridge)
    return (direction / direction.dot(direction)).float(), 1 - residual.item()


def _ridge(w: Tensor, age: Tensor, ridge: float) -> Tensor:
    x = w - w.mean(dim=0)
    return torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype), x.T @ (age - age.mean()))
