"""Measure a model stack on a device: differences from the CPU, speed, and share of the device's peak throughput."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from adfd.basics.batching import OutOfMemory, round_to_tf32
from adfd.basics.files import Row
from adfd.models.networks import Networks

REPEATS = 5
TIMED = 16
PLAIN = (8, 256, 64)
"""Batch, channels and side of the plain convolution whose throughput is taken as the device's peak."""


def codes(networks: Networks, n: int) -> Tensor:
    """Codes `[n, C]` of random faces, the same on every device."""
    z = torch.randn(n, networks.generator.w_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        w = networks.generator.truncate(networks.mapping(z.to(networks.device)), 0.7)
        return networks.affine(w).detach()


def step(networks: Networks, s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The work of one refinement step at codes `[N, C]`.

    Returns pooled picture `[N, 3, 256, 256]`, age `[N]` in years, embedding `[N, D]` and a loss's gradient `[N, C]`.
    """
    s = s.detach().requires_grad_()
    img = networks.synthesis_pooled(s)
    age, embedding = networks.age(img), networks.embed(img)
    loss = (age / 100).square().sum() + embedding.square().sum() + img.square().mean(dim=(1, 2, 3)).sum()
    (gradient,) = torch.autograd.grad(loss, s)
    return img.detach(), age.detach(), embedding.detach(), gradient


def seconds(function: Callable[[], object], device: torch.device, repeats: int = REPEATS) -> float:
    """Median seconds of a call over `repeats`, after a warm-up call; waits for the device each time."""
    times = []
    for _ in range(repeats + 1):
        wait(device)
        started = time.perf_counter()
        function()
        wait(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def wait(device: torch.device) -> None:
    """Wait until the device has finished all queued work."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def differences(found: Sequence[Tensor], expected: Sequence[Tensor]) -> Row:
    """Differences between a `step`'s results and those of the CPU, by name."""
    img, age, embedding, gradient = ((a.float().cpu() - b.float().cpu()) for a, b in zip(found, expected, strict=True))
    length = expected[3].float().cpu().norm(dim=1)
    return {
        "picture": img.abs().max().item(),
        "age_years": age.abs().max().item(),
        "embedding": embedding.norm(dim=1).max().item(),
        "gradient_relative": (gradient.norm(dim=1) / length).max().item(),
    }


def precisions(cpu: Networks, device: torch.device, n: int = 2) -> list[Row]:
    """For each precision on the device: differences from float32 on the CPU, and seconds per sample of a step.

    The time is that of a batch of `n`, and on a GPU of `TIMED` samples, since few do not fill one.
    """
    expected = step(cpu, codes(cpu, n))
    networks = copy.deepcopy(cpu).to(device)
    s = codes(cpu, n).to(device)
    many = s if device.type == "cpu" else codes(cpu, TIMED).to(device)
    bf16: Callable[[], AbstractContextManager] = lambda: torch.autocast(device.type, torch.bfloat16)  # noqa: E731
    ways: dict[str, tuple[bool, Callable[[], AbstractContextManager], bool]] = {
        "float32": (False, nullcontext, True),
        "float32, channels first": (False, nullcontext, False),
        "tf32": (True, nullcontext, True),
        "bf16 autocast": (True, bf16, True),
    }
    rows = []
    for name, (tf32, autocast, channels_last) in ways.items():
        if tf32 and name == "tf32" and device.type != "cuda":
            continue  # CPUs have no TF32
        networks.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        round_to_tf32(tf32)
        with autocast():
            found = step(networks, s)
            rows.append({"precision": name, **differences(found, expected)})
            rows[-1]["seconds"] = seconds(lambda: step(networks, many), device) / len(many)
    round_to_tf32(False)
    return rows


def batches(networks: Networks, most: int) -> list[Row]:
    """Seconds per sample and peak memory of a step for batch sizes 1, 2, 4 ... `most`, while the batch fits."""
    rows: list[Row] = []
    device, size = networks.device, 1
    measured = device.type != "cpu"
    while size <= most:
        if measured:
            torch.accelerator.empty_cache()
            torch.accelerator.reset_peak_memory_stats(device)
        try:
            s = codes(networks, size)
            each = seconds(lambda s=s: step(networks, s), device) / size  # type: ignore[misc]
        except OutOfMemory:
            rows.append({"batch": size, "seconds": None, "memory_gb": None})
            break
        peak = torch.accelerator.max_memory_allocated(device) / 1e9 if measured else None
        rows.append({"batch": size, "seconds": each, "memory_gb": peak})
        size *= 2
    return rows


def flops_a_step(networks: Networks) -> float:
    """Floating-point operations of a step with one sample, counted from its torch operations."""
    counter = FlopCounterMode(display=False)
    with counter:
        step(networks, codes(networks, 1))
    return float(counter.get_total_flops())


def ceiling(device: torch.device, plain: tuple[int, int, int] = PLAIN) -> float:
    """Floating-point operations per second of a plain 3x3 convolution in float32."""
    n, channels, side = plain
    x = torch.randn(n, channels, side, side, device=device).to(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3, device=device).to(memory_format=torch.channels_last)
    with torch.no_grad():
        taken = seconds(lambda: torch.nn.functional.conv2d(x, weight, padding=1), device)
    return 2 * n * side**2 * channels**2 * 9 / taken


def check(cpu: Networks, device: torch.device, most: int, plain: tuple[int, int, int] = PLAIN) -> Row:
    """All measurements: machine, precisions, batches, and a step's share of peak throughput at its best batch size."""
    told = None if device.type == "cpu" else torch.get_device_module(device).get_device_properties(device)
    by_precision = precisions(cpu, device)
    by_batch = batches(copy.deepcopy(cpu).to(device), most)
    top = ceiling(device, plain)
    work = flops_a_step(cpu)
    best = min(row["seconds"] for row in by_batch if row["seconds"] is not None)
    return {
        "device": told.name if told else "CPU",
        "memory_gb": told.total_memory / 1e9 if told else None,
        "torch": torch.__version__,
        "model": cpu.name,
        "precisions": by_precision,
        "batches": by_batch,
        "gflop_a_step": work / 1e9,
        "ceiling_gflops": top / 1e9,
        "share_of_ceiling": work / best / top,
    }
