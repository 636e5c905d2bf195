"""The harmonic score: one number for age accuracy and identity preservation."""

from __future__ import annotations

import torch
from torch import Tensor

AGE_ERROR_OF_SCORE_0 = 40.0
"""Years: the age score is 0 from this age error on."""


def harmonic_score(age_error: Tensor, id_similarity: Tensor) -> Tensor:
    """Harmonic mean `[...]`, 0..100, of the age score and the identity score, each clamped to 0..100.

    Age score: 100 (1 - `age_error` / 40 years). Identity score: 100 `id_similarity` to the source.
    """
    age = (100 * (1 - age_error / AGE_ERROR_OF_SCORE_0)).clamp(0, 100)
    identity = (100 * id_similarity).clamp(0, 100)
    return 2 * age * identity / (age + identity).clamp_min(torch.finfo(age.dtype).tiny)
