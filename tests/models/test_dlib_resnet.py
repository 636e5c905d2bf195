from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from adfd.models.dlib_resnet import convolve


def test_convolution_to_one_pixel_is_the_same_convolution() -> None:
    torch.manual_seed(0)
    for size, stride, padding in ((4, 2, 0), (3, 1, 0), (1, 1, 1), (2, 2, 1), (5, 2, 0), (6, 1, 1)):
        conv = nn.Conv2d(8, 8, 3, stride, padding)
        x = torch.randn(2, 8, size, size)
        torch.testing.assert_close(convolve(conv, x), conv(x))


def test_gradient_is_the_same_at_every_call_on_two_threads() -> None:
    """oneDNN alone gave two or three different gradients in a hundred calls."""
    torch.manual_seed(0)
    down, last = nn.Conv2d(256, 256, 3, stride=2), nn.Conv2d(256, 256, 3, padding=1)
    x = torch.randn(1, 256, 4, 4)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        gradients = set()
        for _ in range(60):
            y = x.clone().requires_grad_()
            convolve(last, F.relu(convolve(down, y))).sum().backward()
            assert y.grad is not None
            gradients.add(y.grad.numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    assert len(gradients) == 1
