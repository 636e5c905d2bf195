"""Convolutions that keep less for the same gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from adfd.models.frozen_conv import conv2d, conv_transpose2d

GROUPED, DENSE, BIAS = torch.randn(6, 1, 3, 3), torch.randn(4, 6, 3, 3), torch.randn(4)
PAIRS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "dense": (lambda x: conv2d(x, DENSE, BIAS, padding=1), lambda x: F.conv2d(x, DENSE, BIAS, padding=1)),
    "depthwise": (
        lambda x: conv2d(x, GROUPED, padding=1, groups=6),
        lambda x: F.conv2d(x, GROUPED, padding=1, groups=6),
    ),
    "transposed": (
        lambda x: conv_transpose2d(x, DENSE.transpose(0, 1), stride=2),
        lambda x: F.conv_transpose2d(x, DENSE.transpose(0, 1), stride=2),
    ),
}


def kept(function: Callable[[Tensor], Tensor], x: Tensor) -> list[int]:
    """The addresses of what the graph keeps."""
    found: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: found.append(one.data_ptr()) or one, lambda one: one):
        function(x)
    return found


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_result_and_gradient_are_torchs(name: str, memory_format: torch.memory_format) -> None:
    ours, theirs = PAIRS[name]
    x = torch.randn(2, 6, 7, 9).to(memory_format=memory_format).requires_grad_()
    found, wanted = ours(x), theirs(x)
    assert torch.equal(found, wanted)
    pattern = torch.randn(found.shape)
    (gradient,) = torch.autograd.grad((found * pattern).sum(), x)
    (expected,) = torch.autograd.grad((wanted * pattern).sum(), x)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("name", PAIRS)
def test_the_input_is_not_kept(name: str) -> None:
    ours, theirs = PAIRS[name]
    x = torch.randn(2, 6, 7, 9, requires_grad=True)
    assert x.data_ptr() in kept(theirs, x)
    assert x.data_ptr() not in kept(ours, x)


def test_weights_that_learn_get_their_gradient() -> None:
    x, weight = torch.randn(2, 6, 7, 9, requires_grad=True), DENSE.clone().requires_grad_()
    for function in (lambda: conv2d(x, weight, padding=1), lambda: conv_transpose2d(x, weight.transpose(0, 1), 2)):
        assert all(grad is not None for grad in torch.autograd.grad(function().sum(), (x, weight)))


def test_autocast_is_torchs() -> None:
    x = torch.randn(2, 6, 7, 9, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = conv2d(x, DENSE, BIAS, padding=1)
    assert found.dtype == torch.bfloat16
    assert torch.autograd.grad(found.float().sum(), x)[0].dtype == torch.float32
