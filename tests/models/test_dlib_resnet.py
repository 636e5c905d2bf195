from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from adfd.models.dlib_judges import FacePerceptual
from adfd.models.dlib_resnet import convolve
from adfd.models.networks import Networks
from adfd.models.tiny import load_tiny


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


def test_embedding_and_features_come_from_one_pass(tiny: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    img = torch.rand(3, 3, 32, 32, requires_grad=True)
    embedding, features = tiny.embed(img), tiny.perceptual.features(img)
    passes: list[int] = []
    plain = tiny.embed.net.features
    monkeypatch.setattr(tiny.embed.net, "features", lambda x: passes.append(len(x)) or plain(x))
    together = tiny.recognise(img)
    assert passes == [3]
    assert torch.equal(together[0], embedding)
    assert all(torch.equal(a, b) for a, b in zip(together[1], features, strict=True))
    (found,) = torch.autograd.grad(together[0].sum() + sum(one.square().mean() for one in together[1]), img)
    (wanted,) = torch.autograd.grad(embedding.sum() + sum(one.square().mean() for one in features), img)
    torch.testing.assert_close(found, wanted)


def test_of_two_networks_each_is_asked(tiny: Networks) -> None:
    networks = load_tiny()
    networks.perceptual = FacePerceptual(load_tiny(None, seed=1).embed)
    img = torch.rand(2, 3, 32, 32)
    embedding, features = networks.recognise(img)
    assert torch.equal(embedding, tiny.embed(img))
    assert torch.equal(features[0], networks.perceptual.features(img)[0])
    assert not torch.equal(features[0], tiny.perceptual.features(img)[0])
