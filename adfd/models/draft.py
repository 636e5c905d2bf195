"""Draft: a thin network that draws a generator's pooled pictures at a sixth of the cost, nearly as they are.

The generator's own layers draw the features at a quarter of the picture's side; a few separable convolutions of few
channels then take the place of its large layers. `python -m adfd.distill` teaches it the pictures of one generator.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adfd.basics.arrays import read_arrays
from adfd.basics.errors import AdfdError
from adfd.models.frozen_conv import conv2d
from adfd.models.mobilestylegan import inverse_haar, modulate
from adfd.stylespace.layout import StyleSpace

SCHEMA_VERSION = 1
REMEDY = "make one with: python -m adfd.distill; model.draft=null does without"


class ThinConv(nn.Module):
    """Separable 3x3 convolution whose input channels are scaled by a code `[N, rank]`, with fixed noise and bias."""

    def __init__(self, c_in: int, c_out: int, rank: int, size: int) -> None:
        super().__init__()
        self.scale = scales(rank, c_in)
        self.depthwise = nn.Parameter(F.pad(torch.ones(c_in, 1, 1, 1), (1, 1, 1, 1)) + 0.1 * torch.randn(c_in, 1, 3, 3))
        self.pointwise = nn.Parameter(torch.randn(c_out, c_in, 1, 1) * math.sqrt(2 / c_in))
        self.noise = nn.Parameter(torch.zeros(1, 1, size, size))
        self.bias = nn.Parameter(torch.zeros(c_out))

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        x = modulate(x, self.scale(code))
        x = conv2d(x, self.depthwise, padding=1, groups=x.shape[1])
        return F.leaky_relu(conv2d(x, self.pointwise, self.bias) + self.noise, 0.2)


class Draft(nn.Module):
    """Pooled pictures `[N, 3, size, size]` of StyleSpace codes, from a generator's features at `size / 4` pixels.

    All styles that the features do not depend on enter through `rank` numbers, a linear function of them. `widths` are
    the channels of the convolutions, which work at `size / 2` pixels. Raises AdfdError where the generator has no
    layers above `size / 4` pixels.
    """

    unseen: Tensor
    mean: Tensor
    scale: Tensor
    rms: Tensor

    def __init__(self, name: str, space: StyleSpace, size: int, widths: Sequence[int], rank: int) -> None:
        super().__init__()
        self.name = name
        self.size = size
        self.trunk = size // 4
        """Side of the generator's features, in px."""
        above = [i for i, layer in enumerate(space.layers) if layer.resolution > self.trunk and not layer.to_rgb]
        if not above:
            raise AdfdError(f"{name} has no layers above {self.trunk} px to draft")
        self.entry = slice(space.offsets[above[0]], space.offsets[above[0] + 1])
        """The channels of the first layer above the features: it scales them."""
        seen = [layer.resolution <= self.trunk and not layer.to_rgb for layer in space.layers]
        unseen = torch.cat([torch.full((layer.width,), not s) for layer, s in zip(space.layers, seen, strict=True)])
        self.register_buffer("unseen", unseen.nonzero()[:, 0], persistent=False)
        n, c = len(self.unseen), space.widths[above[0]]
        for key, length in {"mean": n, "scale": n, "rms": c}.items():
            self.register_buffer(key, torch.ones(length))
        self.mix = nn.Linear(n, rank)
        nn.init.normal_(self.mix.weight, std=1 / math.sqrt(n))
        nn.init.zeros_(self.mix.bias)
        self.enter, self.leave = scales(rank, c), scales(rank, widths[-1])
        inputs = (c // 4, *widths[:-1])
        self.convs = nn.ModuleList(
            ThinConv(c_in, c_out, rank, size // 2) for c_in, c_out in zip(inputs, widths, strict=True)
        )
        self.to_img = nn.Conv2d(widths[-1], 12, 1)
        nn.init.normal_(self.to_img.weight, std=0.3 / math.sqrt(widths[-1]))
        nn.init.zeros_(self.to_img.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, s: Tensor) -> Tensor:
        """Pictures `[N, 3, size, size]` of codes `[N, C]`, from the generator's features of `size / 4` px."""
        code = self.mix((s[:, self.unseen] - self.mean) / self.scale)
        x = inverse_haar(modulate(features, self.enter(code) * s[:, self.entry] / self.rms))
        for conv in self.convs:
            x = conv(x, code)
        return inverse_haar(self.to_img(modulate(x, self.leave(code))))

    @torch.no_grad()
    def standardise(self, features: Tensor, s: Tensor) -> None:
        """Take the scales of its inputs from codes `[N, C]` and the features `[n, c, h, w]` of the first n of them."""
        self.mean.copy_(s[:, self.unseen].mean(dim=0))
        self.scale.copy_(s[:, self.unseen].std(dim=0).clamp_min(1e-3))
        entered = modulate(features, s[: len(features), self.entry])
        self.rms.copy_(entered.square().mean(dim=(0, 2, 3)).sqrt().clamp_min(1e-3))

    @property
    def digest(self) -> str:
        """A hash of its weights."""
        content = hashlib.sha256(self.name.encode())
        for key, value in sorted(self.state_dict().items()):
            content.update(key.encode() + value.cpu().contiguous().numpy().tobytes())
        return content.hexdigest()

    def save(self, stream: IO[bytes]) -> None:
        """Write an `.npz` with the weights in half precision."""
        arrays = {key: value.half().cpu().numpy() for key, value in self.state_dict().items()}
        np.savez_compressed(stream, schema_version=SCHEMA_VERSION, generator=self.name, size=self.size, **arrays)

    @classmethod
    def load(cls, path: Path, name: str, space: StyleSpace) -> Draft:
        """Read a draft of the generator `name`.

        Raises AdfdError where the file is missing, damaged, or of another version or generator.
        """
        try:
            arrays = read_arrays(path)
        except FileNotFoundError:
            raise AdfdError(f"draft {path} does not exist; {REMEDY}") from None
        made_for, version = arrays.pop("generator", ""), arrays.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise AdfdError(f"draft {path} has format {version}, this program reads {SCHEMA_VERSION}; {REMEDY}")
        if made_for != name:
            raise AdfdError(f"draft {path} was made for generator {made_for}, not {name}; {REMEDY}")
        try:
            n_convs = sum(key.startswith("convs.") and key.endswith(".noise") for key in arrays)
            widths = [len(arrays[f"convs.{i}.bias"]) for i in range(n_convs)]
            draft = cls(name, space, int(arrays.pop("size")), widths, len(arrays["mix.bias"]))
            draft.load_state_dict({key: torch.from_numpy(array).float() for key, array in arrays.items()})
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise AdfdError(f"draft {path} does not fit {name} ({reason}); {REMEDY}") from error
        if not all(value.isfinite().all() for value in draft.state_dict().values()):
            raise AdfdError(f"draft {path} holds numbers that are not finite; {REMEDY}")
        return draft.requires_grad_(False)


def draw(draft: Draft, generator: Any, s: Tensor) -> Tensor:
    """A draft's pictures `[N, 3, size, size]` of its generator's codes `[N, C]`."""
    return draft(generator.features(s, draft.trunk), s)


def load_draft(path: Path | str | None, generator: Any) -> Draft | None:
    """`Draft.load` for a generator; None for None."""
    return Draft.load(Path(path), generator.name, generator.space) if path else None


def scales(rank: int, width: int) -> nn.Linear:
    """A linear function of a code that gives scales `[N, width]` near 1."""
    made = nn.Linear(rank, width)
    nn.init.normal_(made.weight, std=0.1 / math.sqrt(rank))
    nn.init.ones_(made.bias)
    return made
