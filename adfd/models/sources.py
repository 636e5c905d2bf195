"""The people to edit as one batch of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Sources:
    """N aligned faces with their latents and the judges' readings."""

    names: tuple[str, ...]
    img: Tensor
    """`[N, 3, 256, 256]`, the pooled crops, in [-1, 1]."""
    w_plus: Tensor
    """`[N, L, 512]`, the inverted latents."""
    age: Tensor
    """`[N]`, the estimated age of `img`, in years."""
    embedding: Tensor
    """`[N, D]`, the identity embedding of `img`."""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: slice) -> Sources:
        return Sources(self.names[rows], self.img[rows], self.w_plus[rows], self.age[rows], self.embedding[rows])

    @classmethod
    def join(cls, parts: Sequence[Sources]) -> Sources:
        """Concatenate batches."""
        img, w_plus, age, embedding = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("img", "w_plus", "age", "embedding")
        )
        return cls(tuple(name for part in parts for name in part.names), img, w_plus, age, embedding)
