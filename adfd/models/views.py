"""Views: changed copies of a picture, over which readings are averaged, since optimisation can fool a judge on one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from adfd.basics.errors import AdfdError
from adfd.basics.pooling import POOLED_SIZE, pool

Judge = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Views:
    """The picture and its flipped, shifted and scaled copies, over which a judge's readings are averaged."""

    flip: bool
    """Include the mirrored picture."""
    shift: int
    """Shift to the left, right, up and down, in px of the 256 px picture; 0 for no shifted views."""
    zooms: list[float]
    """Scale factors about the centre; beyond the picture's edge its border pixels are repeated."""
    features: float
    """Weight, 0..1, of a second reading of the age: by a linear model of the picture's perceptual features
    (`Networks.read_age`); 0 for the age network alone."""

    def __post_init__(self) -> None:
        if not 0 <= self.shift < POOLED_SIZE / 4:
            raise AdfdError(f"views.shift must lie in 0..{POOLED_SIZE // 4 - 1} pixels, got {self.shift}")
        for zoom in self.zooms:
            if not 0.5 <= zoom <= 2:
                raise AdfdError(f"views.zooms must lie in 0.5..2, got {zoom}")

        if not 0 <= self.features <= 1:
            raise AdfdError(f"views.features must lie in 0..1, got {self.features}")

    def __len__(self) -> int:
        return len(self.frames) + 1

    @cached_property
    def frames(self) -> tuple[tuple[float, float, float, float], ...]:
        """The sampling frame of every view but the first: scale of x and y, offset of x and y, in half pictures."""
        step = 2 * self.shift / POOLED_SIZE
        shifts = ((step, 0.0), (-step, 0.0), (0.0, step), (0.0, -step)) if self.shift else ()
        return (
            *(((-1.0, 1.0, 0.0, 0.0),) if self.flip else ()),
            *((1.0, 1.0, x, y) for x, y in shifts),
            *((1 / zoom, 1 / zoom, 0.0, 0.0) for zoom in self.zooms),
        )

    def all(self, img: Tensor) -> Tensor:
        """All V views of images `[N, 3, H, W]`: `[V, N, 3, h, w]`, pooled to at most 256 px."""
        return torch.stack([self.show(img, view) for view in range(len(self))])

    def show(self, img: Tensor, view: int) -> Tensor:
        """One view of images `[N, 3, H, W]`: `[N, 3, h, w]`; view 0 is the images themselves."""
        if view == 0:
            return img if len(self) == 1 else pool(img)
        img = pool(img)
        scale_x, scale_y, x, y = self.frames[view - 1]
        theta = img.new_tensor([[scale_x, 0.0, x], [0.0, scale_y, y]]).expand(len(img), 2, 3)
        grid = F.affine_grid(theta, list(img.shape), align_corners=False)
        return F.grid_sample(img, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def turn(self, seed: int, step: int) -> int:
        """Index of the view to use at a step: the steps cycle through all views in an order drawn from the seed."""
        return _order(seed, len(self))[step % len(self)]

    def read(self, judge: Judge, img: Tensor, together: bool | None = None) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over the views, `[N]` each, of a judge's readings of images `[N, 3, H, W]`.

        On a CPU each image and view is read separately, so that a reading does not depend on the batch; on a GPU, or
        with `together`, all are read in one batch. The deviation of a single view is 0.
        """
        if img.is_cuda if together is None else together:
            table = judge(self.all(img).flatten(0, 1)).unflatten(0, (len(self), len(img)))  # [V, N]
        else:
            readings = [torch.stack([judge(self.show(one, view)) for view in range(len(self))]) for one in img.split(1)]
            table = torch.cat(readings, dim=1)
        return table.mean(dim=0), table.std(dim=0, correction=0)


ONE_VIEW = Views(flip=False, shift=0, zooms=[], features=0)


@lru_cache(maxsize=1024)
def _order(seed: int, n_views: int) -> list[int]:
    return torch.randperm(n_views, generator=torch.Generator().manual_seed(seed)).tolist()
