"""A model stack: a generator, an age transformer and the judges, behind one interface."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from adfd.basics.batching import in_parts, row_by_row
from adfd.basics.errors import AdfdError
from adfd.basics.pooling import POOLED_SIZE, pool
from adfd.models.draft import Draft, draw
from adfd.models.sources import Sources
from adfd.models.views import ONE_VIEW, Views
from adfd.stylespace.layout import StyleSpace
from adfd.stylespace.statistics import Channels

REMEDY = (
    "make a channels file with: python -m adfd.analyze model=..., then channels=fitted (SAM: or channels=published)"
)

NO_DRAFT = "make one with: python -m adfd.distill model=..., then model.draft=FILE"


class Generator(Protocol):
    """A frozen generator of the StyleGAN family; shapes are those of the methods of `Networks`."""

    name: str
    space: StyleSpace
    resolution: int
    """Side of its pictures, in px."""
    w_dim: int
    w_avg: Tensor
    """Mean latent, `[512]`."""

    def mapping(self, z: Tensor) -> Tensor: ...
    def truncate(self, w: Tensor, psi: float) -> Tensor: ...
    def affine(self, w: Tensor) -> Tensor: ...
    def synthesis(self, s: Tensor) -> Tensor: ...
    def features(self, s: Tensor, size: int) -> Tensor: ...


class Perceptual(Protocol):
    """Perceptual distance `[N]` of the feature maps of images `[N, 3, H, W]`; reports label its values with `name`."""

    name: str

    def features(self, img: Tensor) -> list[Tensor]: ...
    def distance(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor: ...


@torch.no_grad()
def mean_style(generator: Generator, channels: Channels) -> Tensor:
    """The mean style `[C]`: as measured, or that of the mean latent, which is equal since styles are affine in `w`."""
    return generator.affine(generator.w_avg[None])[0] if channels.s_mean is None else channels.s_mean


class Rendered(NamedTuple):
    """Rendered pictures and their estimated ages."""

    img: Tensor
    """`[N, 3, 256, 256]`, pooled."""
    age: Tensor
    """`[N]`, in years, of `Networks.read_age`."""
    spread: Tensor
    """`[N]`, in years: the standard deviation over the views; large where the age judge is uncertain."""


class Networks(nn.Module):
    """Frozen networks of one stack: the interface that methods, analysis and evaluation use.

    Judges take images `[N, 3, H, W]` in [-1, 1]: `age(img)` gives years `[N]`; `embed(img)` embeddings `[N, D]`,
    compared by `id_similarity(a, b)`; `gender(img)` log-probabilities `[N, 2]` (female, male);
    `perceptual.features(img)` features, compared by `perceptual.distance(a, b)`. `transform(sources, target_age)` gives
    `w_plus` `[N, L, 512]`. With `low_pass`, pooled pictures are synthesised without the full-size one where the
    generator supports it: equal to 1e-6 and faster. With a `draft`, `drafting().synthesis_pooled(s)` draws them nearly
    so, at a sixth of the cost.

    `age` reads the picture itself; methods use `read_age`, the mean of `age` over the `views` together with a second
    reading.
    """

    generator: Generator
    perceptual: Perceptual
    conv_mask: Tensor
    s_mean: Tensor

    def __init__(
        self,
        generator: Generator,
        age: nn.Module,
        identity: nn.Module,
        gender: nn.Module,
        perceptual: Perceptual,
        transformer: nn.Module | None = None,
        channels: Channels | None = None,
        low_pass: bool = True,
        draft: Draft | None = None,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.draft = draft
        self.age = age
        self.embed = identity
        self.gender = gender
        self.perceptual = perceptual
        self.transformer = transformer
        self.channels = channels
        self.views = ONE_VIEW
        self.low_pass = low_pass
        self.drafts = False
        if channels is not None:
            self.register_buffer("s_mean", mean_style(generator, channels))
        self.register_buffer("conv_mask", self.space.conv_mask)
        self.requires_grad_(False).eval()
        for name, part in self.named_children():
            if name != "transformer":  # its encoders run once per face, too seldom to repay a copy of the weights
                part.to(memory_format=torch.channels_last)

    @property
    def name(self) -> str:
        """The generator's name, which is stored in channels files."""
        return self.generator.name

    @property
    def space(self) -> StyleSpace:
        return self.generator.space

    @property
    def device(self) -> torch.device:
        """The device that the networks are on."""
        return self.conv_mask.device

    def mapping(self, z: Tensor) -> Tensor:
        """`z` `[N, 512]` to `w` `[N, 512]`."""
        return self.generator.mapping(z)

    def affine(self, w: Tensor) -> Tensor:
        """`w` `[N, 512]` or `w_plus` `[N, L, 512]` to `s` `[N, C]`."""
        return self.generator.affine(w)

    def synthesis(self, s: Tensor) -> Tensor:
        """`s` `[N, C]` to `img` `[N, 3, H, H]` in [-1, 1]."""
        return self.generator.synthesis(s)

    def synthesis_pooled(self, s: Tensor, size: int = POOLED_SIZE) -> Tensor:
        """`s` `[N, C]` to `pool(synthesis(s), size)`: `[N, 3, size, size]`, or at the generator's size if smaller.

        While `drafting`, the draft draws it, at its own size.
        """
        if self.drafts and self.draft is not None:
            return draw(self.draft, self.generator, s)
        directly = getattr(self.generator, "synthesis_pooled", None) if self.low_pass else None
        return directly(s, size) if directly else pool(self.synthesis(s), size)

    def id_similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """Identity similarity `[...]` of embeddings `[..., D]`; 1 for equal ones."""
        return self.embed.similarity(a, b)  # type: ignore[operator]

    def recognise(self, img: Tensor) -> tuple[Tensor, list[Tensor]]:
        """`embed(img)` and `perceptual.features(img)`, in one pass where both are of the same network."""
        if getattr(self.perceptual, "identity", None) is self.embed:
            return self.perceptual.with_embedding(img)  # type: ignore[attr-defined]
        return self.embed(img), self.perceptual.features(img)

    @torch.no_grad()
    def transform(self, sources: Sources, target_age: Tensor) -> Tensor:
        """`w_plus` `[N, L, 512]` of the sources at the target ages `[N]`, in years.

        Raises AdfdError where the stack has no age transformer.
        """
        if self.transformer is None:
            raise AdfdError(f"{self.name} has no age path; {REMEDY}")
        return self.transformer(sources, target_age)

    @property
    def has_encoder(self) -> bool:
        """True where the stack encodes photos into latents; otherwise photos are inverted by optimisation."""
        return hasattr(self.transformer, "encode")

    @torch.no_grad()
    def encode(self, source: Tensor, target_age: Tensor | float) -> Tensor:
        """Encode pictures `[N, 3, 256, 256]` at target ages in years (`[N]` or one number) into `w_plus` `[N, L, 512]`.

        Raises AdfdError where the stack has no encoder.
        """
        if not self.has_encoder:
            raise AdfdError(f"{self.name} has no encoder; its latents of photos are made by python -m adfd.prepare")
        return self.transformer.encode(source, target_age)  # type: ignore[union-attr, operator]

    @torch.no_grad()
    def render(self, s: Tensor, batch_size: int = 1) -> Tensor:
        """Codes `[N, C]` to pooled images `[N, 3, 256, 256]`, without gradients, `batch_size` at a time."""
        (img,) = in_parts(lambda part: (self.synthesis_pooled(part),), s, batch_size)
        return img

    def with_views(self, views: Views) -> Networks:
        """The same networks, whose `read_age` uses these views."""
        asked = copy.copy(self)
        asked.views = views
        return asked

    def drafting(self) -> Networks:
        """The same networks, whose pooled pictures are the draft's. Raises AdfdError where the stack has no draft."""
        if self.draft is None:
            raise AdfdError(f"{self.name} has no draft; {NO_DRAFT}")
        drafting = copy.copy(self)
        drafting.drafts = True
        return drafting

    @torch.no_grad()
    def read_age(self, img: Tensor) -> tuple[Tensor, Tensor]:
        """Estimated ages of images `[N, 3, H, W]`, in years, and the standard deviations over the views, `[N]` each.

        The age is the mean of the age network's readings over the views. With `views.features` above 0 it is averaged
        with what a linear model, fitted to that network's readings, tells from the picture's features: errors that the
        network makes on single faces are not in the model (docs/realism.md). Where `reads_features` is False, the
        network's reading stands alone.
        """
        age, spread = self.views.read(self.age, img)
        if self.views.features and self.reads_features:
            age = torch.lerp(age, self.age_from_features(img), self.views.features)
        return age, spread

    @property
    def reads_features(self) -> bool:
        """Whether the channel statistics hold a linear model of age for this stack's perceptual features."""
        known = self.channels
        return known is not None and known.age_features is not None and known.age_features_of == self.perceptual.name

    @torch.no_grad()
    def features(self, img: Tensor) -> Tensor:
        """The mean of each perceptual feature map of images `[N, 3, H, W]`: `[N, F]`."""

        def means(one: Tensor) -> Tensor:
            return torch.cat([maps.mean(dim=(2, 3)) for maps in self.perceptual.features(one)], dim=1)

        return means(img) if img.is_cuda else row_by_row(means, img)

    def age_from_features(self, img: Tensor) -> Tensor:
        """Ages `[N]` of images `[N, 3, H, W]`, in years, by the channel statistics' linear model of `features`.

        Raises AdfdError where they hold none, or one of other features.
        """
        known, features = self.channels, self.features(img)
        if known is None or known.age_features is None or known.age_features_bias is None:
            raise AdfdError(f"the channels file of {self.name} has no linear model of age; {REMEDY}")
        if len(known.age_features) != features.shape[1]:
            told = f"a linear model of age from {len(known.age_features)} features"
            raise AdfdError(f"the channels file of {self.name} has {told}, and the pictures have {features.shape[1]}")
        return features @ known.age_features.to(img) + known.age_features_bias

    @torch.no_grad()
    def render_read(self, s: Tensor, batch_size: int, age_image: str) -> Rendered:
        """Render codes `[N, C]` as pooled images and estimate their ages.

        `age_image` is the picture given to the age judge: "pooled", or "full", at the generator's resolution, as
        published.
        """

        def read(part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            img = self.synthesis(part) if age_image == "full" else self.synthesis_pooled(part)
            return pool(img), *self.read_age(img)

        return Rendered(*in_parts(read, s, batch_size))

    def render_aged(self, s: Tensor, batch_size: int, age_image: str) -> tuple[Tensor, Tensor]:
        """Images `[N, 3, 256, 256]` and ages `[N]` of `render_read`, without the spread."""
        return self.render_read(s, batch_size, age_image)[:2]

    @torch.no_grad()
    def read(self, names: Sequence[str], img: Tensor, w_plus: Tensor) -> Sources:
        """Sources from pooled crops `[N, 3, 256, 256]` and their latents `[N, L, 512]`, with the judges' readings."""
        return Sources(tuple(names), img, w_plus, row_by_row(self.age, img), row_by_row(self.embed, img))
