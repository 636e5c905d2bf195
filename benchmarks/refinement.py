"""What makes a refinement step quick on a CPU: each choice against its absence, side by side in one run.

    python benchmarks/refinement.py

Every variant runs in a fresh process, in turn, several times; the ratio of the medians is what counts, since the
machine may be busy with other things.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS, STEPS = 3, 4
VARIANTS = {
    "as shipped": {},
    "weights channels first": {"channels_first": True},
    "freed memory handed back": {"hand_back": True},
    "batch of 4": {"batch_size": 4},
}


def seconds_per_image(channels_first: bool = False, hand_back: bool = False, batch_size: int = 1) -> float:
    """Median seconds of a forward and backward pass through generator and judges, for one image of a batch."""
    import torch

    from adfd.basics.allocator import keep_freed_memory
    from adfd.models import load_mobile

    if not hand_back:
        keep_freed_memory()
    networks = load_mobile()
    if channels_first:
        networks.to(memory_format=torch.contiguous_format)
    s = networks.affine(networks.generator.w_avg.repeat(batch_size, 1)).requires_grad_()
    times = []
    for _ in range(STEPS + 1):
        started = time.perf_counter()
        img = networks.synthesis(s)
        (networks.age(img).sum() + networks.embed(img).square().sum()).backward()
        times.append((time.perf_counter() - started) / batch_size)
    return statistics.median(times[1:])


def main() -> None:
    measured: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(ROUNDS):
        for name in VARIANTS:
            done = subprocess.run([sys.executable, __file__, name], check=True, capture_output=True, text=True)
            measured[name].append(float(done.stdout))
    shipped = statistics.median(measured["as shipped"])
    for name, values in measured.items():
        median = statistics.median(values)
        print(f"{name:26s} {median:6.2f} s per image   {median / shipped:5.2f} x")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(seconds_per_image(**VARIANTS[sys.argv[1]]))  # type: ignore[arg-type]
    else:
        main()
