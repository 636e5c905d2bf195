from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adfd.stylespace.layout import StyleLayer, StyleSpace, mobilestylegan, stylegan2

spaces = st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=8).map(
    lambda layers: StyleSpace(tuple(StyleLayer(f"l{i}", w, 4, i, rgb) for i, (w, rgb) in enumerate(layers)))
)


@given(spaces, st.integers(0, 3))
def test_join_inverts_split(space: StyleSpace, n: int) -> None:
    s = torch.randn(n, space.n_channels)
    styles = space.split(s)
    assert [style.shape[1] for style in styles] == list(space.widths)
    assert torch.equal(space.join(styles), s)


@given(spaces)
def test_locate_and_flat_are_inverse_and_agree_with_split(space: StyleSpace) -> None:
    styles = space.split(torch.arange(space.n_channels))
    for c in range(space.n_channels):
        layer, channel = space.locate(c)
        assert space.flat(layer, channel) == c == styles[layer][channel]


@given(spaces)
def test_masks_part_the_channels(space: StyleSpace) -> None:
    assert torch.equal(space.conv_mask, ~space.to_rgb_mask)
    for layer, mask in zip(space.layers, space.split(space.to_rgb_mask), strict=True):
        assert bool(mask.all() if layer.to_rgb else not mask.any())


def test_wrong_sizes_are_refused() -> None:
    space = mobilestylegan((8, 8))
    with pytest.raises(ValueError, match=f"{space.n_channels} channels, got 3"):
        space.split(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="widths"):
        space.join([torch.zeros(1, 8)])
    for c in (-1, space.n_channels):
        with pytest.raises(IndexError):
            space.locate(c)
    with pytest.raises(IndexError):
        space.flat(0, 8)
    with pytest.raises(ValueError, match="power of two"):
        stylegan2(48)


def test_stylegan2_ffhq_layout() -> None:
    space = stylegan2(1024)
    assert (len(space.layers), space.n_channels, space.n_w_rows) == (26, 9088, 18)
    assert int(space.conv_mask.sum()) == 6048
    assert [i for i, layer in enumerate(space.layers) if layer.to_rgb] == list(range(1, 26, 3))
    widths = sorted(space.widths, reverse=True)
    assert widths == [512] * 15 + [256] * 3 + [128] * 3 + [64] * 3 + [32] * 2
    assert space.w_rows_from(64) == list(range(7, 18))  # SAM's fine layers


def test_mobilestylegan_ffhq_layout() -> None:
    space = mobilestylegan()
    assert (len(space.layers), space.n_channels, space.n_w_rows) == (23, 6752, 23)
    assert [layer.name for layer in space.layers if layer.to_rgb] == ["to_img"]
    assert space.widths[:4] == (512, 512, 128, 512)
    assert space.widths[-7:] == (256, 64, 128, 128, 32, 64, 64)
    assert space.w_rows_from(64) == list(range(10, 23))
