"""One number for both aims of face ageing: the harmonic mean of an age score and an identity score."""

from __future__ import annotations

import torch
from torch import Tensor

AGE_ERROR_OF_SCORE_0 = 40.0
"""Years; the harmonic score counts an age error of this or more as a score of 0."""


def harmonic_score(age_error: Tensor, id_similarity: Tensor) -> Tensor:
    """Harmonic mean of 100 (1 - error / 40 years) and 100 similarity to the source, each held to 0..100."""
    age = (100 * (1 - age_error / AGE_ERROR_OF_SCORE_0)).clamp(0, 100)
    identity = (100 * id_similarity).clamp(0, 100)
    return 2 * age * identity / (age + identity).clamp_min(torch.finfo(age.dtype).tiny)
