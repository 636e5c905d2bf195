"""The age path within natural faces, against the straight one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from adfd.basics.errors import AdfdError
from adfd.methods.acceptance import style_rms
from adfd.models.age_path import LatentAgePath, NaturalAgePath, age_path
from adfd.models.networks import Networks
from adfd.models.sources import Sources

YEARS = torch.linspace(-60, 60, 13)


def along(networks: Networks, path: LatentAgePath, sources: Sources) -> Tensor:
    """Root mean square of the styles of the first person at `YEARS` from their age."""
    latents = [path(sources, sources.age + years) for years in YEARS]
    return torch.tensor([style_rms(networks, networks.affine(w)[0]) for w in latents])


def test_the_path_is_straight_until_it_leaves_natural_faces_and_stays_within_them(
    tiny: Networks, sources: Sources
) -> None:
    assert tiny.channels is not None
    straight = LatentAgePath(tiny.channels)
    before = along(tiny, straight, sources)
    at_start = before[YEARS == 0].item()
    limit = at_start + 0.5 * (before.max().item() - at_start)
    natural = NaturalAgePath(tiny.channels, tiny.generator, limit)
    after = along(tiny, natural, sources)
    inside = before < limit - 1e-4
    assert inside.any()
    assert (~inside).any()
    assert torch.allclose(after, before.clamp_max(limit), atol=1e-3)
    for years in YEARS[inside]:
        age = sources.age + years
        assert torch.equal(natural(sources, age)[0], straight(sources, age)[0])


def test_a_person_beyond_the_limit_is_held_where_they_are(tiny: Networks, sources: Sources) -> None:
    assert tiny.channels is not None
    natural = NaturalAgePath(tiny.channels, tiny.generator, 1e-3)
    torch.testing.assert_close(natural(sources, sources.age), sources.w_plus)
    assert (along(tiny, natural, sources) <= along(tiny, LatentAgePath(tiny.channels), sources) + 1e-4).all()


def test_each_persons_path_is_their_own(tiny: Networks, sources: Sources) -> None:
    assert tiny.channels is not None
    natural = NaturalAgePath(tiny.channels, tiny.generator, 0.5)
    together = natural(sources, sources.age + 30)
    for row in range(len(sources)):
        alone = sources[row : row + 1]
        assert torch.equal(natural(alone, alone.age + 30)[0], together[row])


def test_the_limit_needs_the_deviations_of_styles(tiny: Networks) -> None:
    assert tiny.channels is not None
    lacking = replace(tiny.channels, s_std=None)
    with pytest.raises(AdfdError, match=r"model\.path_rms needs s_std.*analysis=correlation.*path_rms=null"):
        age_path(lacking, tiny.generator, 0.9)
    assert type(age_path(lacking, tiny.generator, None)) is LatentAgePath
    assert age_path(None, tiny.generator, 0.9) is None


def test_a_limit_that_is_not_positive_is_refused(tiny: Networks) -> None:
    assert tiny.channels is not None
    with pytest.raises(AdfdError, match=r"model\.path_rms must be positive.*null.*got -0\.9"):
        age_path(tiny.channels, tiny.generator, rms=-0.9)
