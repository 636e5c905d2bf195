"""The metrics of an evaluation, with units and sources.

A metric is updated with one value per output and the index of the output's photo. It computes the mean over photos of
each photo's mean, so that all photos have the same weight. Bootstrap intervals resample photos, not outputs.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from adfd.basics.harmonic import harmonic_score
from adfd.basics.pooling import pool
from adfd.evaluation.bootstrap import Bootstrap
from adfd.models.networks import Perceptual

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luminance (ITU-R BT.601)."""
LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


class PhotoMean(Metric):
    """Mean over photos of one value per output, in the value's own unit."""

    full_state_update = False
    is_differentiable = False
    photos: list[Tensor]
    values: list[Tensor]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("photos", [], dist_reduce_fx="cat")
        self.add_state("values", [], dist_reduce_fx="cat")

    def update(self, photo: Tensor, value: Tensor) -> None:
        """`photo` `[N]`, the index of each output's photo; `value` `[N]`."""
        self.take(photo, value)

    def take(self, photo: Tensor, *values: Tensor) -> None:
        """Store Q values for every output: Q tensors `[N]`, with the photos' indices `[N]`."""
        self.photos.append(photo.long())
        self.values.append(torch.stack([value.double() for value in values], dim=1))

    @property
    def per_output(self) -> Tensor:
        """The stored values, `[N, Q]`."""
        return torch.cat(list(self.values))

    @property
    def per_photo(self) -> Tensor:
        """Means over the outputs of each photo, `[P, Q]`."""
        values = self.per_output
        _, photo, n_outputs = torch.cat(list(self.photos)).unique(return_inverse=True, return_counts=True)
        return values.new_zeros(len(n_outputs), values.shape[1]).index_add(0, photo, values) / n_outputs[:, None]

    @staticmethod
    def score(means: Tensor) -> Tensor:
        """The reported value `[...]` from means `[..., Q]` over photos."""
        return means[..., 0]

    def compute(self) -> Tensor:
        return self.score(self.per_photo.mean(dim=0))

    def spread(self) -> float:
        """Standard deviation over outputs (divisor n - 1); NaN for a single output."""
        scores = self.score(self.per_output)
        return scores.std().item() if len(scores) > 1 else float("nan")

    def interval(self, bootstrap: Bootstrap) -> tuple[float, float]:
        """Confidence interval of the value of `compute`; NaN and NaN for a single photo."""
        return bootstrap.interval(self.per_photo.numpy(), lambda means: self.score(torch.from_numpy(means)).numpy())


class AgeError(PhotoMean):
    """Absolute difference, in years, between an output's estimated age and the target age or the anchor's age."""

    higher_is_better = False

    def update(self, photo: Tensor, age: Tensor, goal: Tensor) -> None:  # type: ignore[override]
        """Photos `[N]`, estimated ages `[N]` and reference ages `goal` `[N]`, in years."""
        self.take(photo, (age.double() - goal.double()).abs())


class IdSimilarity(PhotoMean):
    """Identity similarity: 1 for identical faces.

    ArcFace: the cosine of two embeddings, -1..1 (Deng et al., CVPR 2019). dlib: 1 - d^2 / 2 at Euclidean distance d,
    which for unit vectors is the cosine; its threshold for one person, d = 0.6, is a similarity of 0.82. To the source,
    to the anchor, or cyclic: between the source and the output edited back to the source's age.
    """

    higher_is_better = True


class Diversity(PhotoMean):
    """Mean pairwise perceptual distance between the outputs of one photo at one age.

    The value of an output is its mean distance to the others. With LPIPS (Zhang et al., CVPR 2018) this is the
    diversity of multimodal image translation (Zhu et al., "Toward Multimodal Image-to-Image Translation", NeurIPS
    2017); other distances, such as that on the face network's features, are reported under their own names.
    """

    higher_is_better = True


class GenderKept(PhotoMean):
    """Share of outputs with the same gender as the source by the gender judge, 0..1."""

    higher_is_better = True

    def update(self, photo: Tensor, p_female: Tensor, p_female_source: Tensor) -> None:  # type: ignore[override]
        """Photos `[N]` and the probabilities `[N]` of "female" on output and source."""
        self.take(photo, (p_female > 0.5) == (p_female_source > 0.5))


class Worst(PhotoMean):
    """Largest absolute value over all outputs; has no standard deviation and no interval."""

    higher_is_better = False

    def update(self, photo: Tensor, value: Tensor) -> None:
        """Photos `[N]` and values `[N]`, whose sign is ignored."""
        self.take(photo, value.abs())

    def compute(self) -> Tensor:
        return self.per_output.max()

    def spread(self) -> float:
        return float("nan")

    def interval(self, bootstrap: Bootstrap) -> tuple[float, float]:
        return float("nan"), float("nan")


class Extreme(Worst):
    """95 % quantile of the absolute values over all outputs."""

    def compute(self) -> Tensor:
        return self.per_output.flatten().quantile(0.95)


class Sharpness(PhotoMean):
    """log10(1 + variance of the Laplacian) of the luminance in 0..255, at 256 px: 0 for a uniform picture.

    A measure of focus (Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000). Higher is not
    always better: wrinkles and artefacts are sharp too.
    """


class HarmonicScore(PhotoMean):
    """Harmonic mean of an age score and an identity score, 0..100, as in recent work on face ageing.

    The age score is 100 * (1 - error / 40 years), the identity score 100 * similarity to the source, each clamped to
    0..100; both are computed from the means over photos.
    """

    higher_is_better = True

    def update(self, photo: Tensor, age: Tensor, goal: Tensor, similarity: Tensor) -> None:  # type: ignore[override]
        """Photos `[N]`, ages and goals `[N]` in years, identity similarity `[N]`."""
        self.take(photo, (age.double() - goal.double()).abs(), similarity)

    @staticmethod
    def score(means: Tensor) -> Tensor:
        return harmonic_score(means[..., 0], means[..., 1])


class Failures(PhotoMean):
    """Number of requested outputs that failed. A count without standard deviation and interval."""

    higher_is_better = False

    def compute(self) -> Tensor:
        return self.per_output.sum()

    def spread(self) -> float:
        return float("nan")

    def interval(self, bootstrap: Bootstrap) -> tuple[float, float]:
        return float("nan"), float("nan")


def sharpness(img: Tensor) -> Tensor:
    """`Sharpness` `[N]` of images `[N, 3, H, W]` in [-1, 1], pooled to 256 px where larger."""
    pixels = (pool(img.float()).clamp(-1, 1) + 1) * 127.5
    luminance = (pixels * pixels.new_tensor(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    response = F.conv2d(luminance, luminance.new_tensor(LAPLACIAN)[None, None])
    return torch.log10(1 + response.flatten(1).var(dim=1, correction=0))


def distances_to_others(perceptual: Perceptual, img: Tensor, batch_size: int) -> Tensor:
    """Mean perceptual distance `[K]` of each of K >= 2 images `[K, 3, H, W]` to the others.

    Their mean is the mean pairwise distance. Images and pairs are processed `batch_size` at a time.
    """
    return pairwise_distances(perceptual, img, batch_size).sum(dim=1) / (len(img) - 1)


def pairwise_distances(perceptual: Perceptual, img: Tensor, batch_size: int) -> Tensor:
    """Perceptual distances `[K, K]` between K >= 2 images `[K, 3, H, W]`; `batch_size` images or pairs at once."""
    maps = [perceptual.features(part) for part in img.split(batch_size)]
    features = [torch.cat(stage) for stage in zip(*maps, strict=True)]
    pairs = torch.tensor(list(combinations(range(len(img)), 2)), device=img.device)
    distances = img.new_zeros(len(img), len(img))
    for a, b in (part.T for part in pairs.split(batch_size)):
        distance = perceptual.distance([f[a] for f in features], [f[b] for f in features])
        distances[a, b] = distance
        distances[b, a] = distance
    return distances
