"""Measure the batch size at which a device refines samples in the least time per sample."""

from __future__ import annotations

import time
from functools import partial

from adfd.basics.batching import best_size
from adfd.methods.anchors import Anchors
from adfd.methods.objective import LossWeights, objective
from adfd.models.networks import Networks

MOST = 64


def probed_batch_size(networks: Networks, anchors: Anchors, loss: LossWeights, most: int = MOST) -> int:
    """The fastest batch size of the refinement, up to `most`. Raises AdfdError where one sample does not fit."""
    return best_size(partial(step_seconds, networks, anchors, loss), most)


def step_seconds(networks: Networks, anchors: Anchors, loss: LossWeights, n: int) -> float:
    """Time of one gradient step with `n` samples, in seconds: of the second of two, since the first includes set-up."""
    s, constants = anchors.s[:1].repeat(n, 1), anchors.constants([0] * n)
    for _ in range(2):
        started = time.perf_counter()
        code = s.clone().requires_grad_()
        losses = objective(networks, networks.synthesis_pooled(code), constants, loss, None)
        losses.total.sum().backward()
        assert code.grad is not None
        code.grad.sum().item()  # waits for the device
    return time.perf_counter() - started
