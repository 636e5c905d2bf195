"""`hardware.compile=true`: the generator by `torch.compile`, which costs a minute once and pays in long runs."""

from __future__ import annotations

import os
from typing import Any

import torch

from adfd.basics.errors import AdfdError
from adfd.models.networks import Networks
from adfd.models.weights import cache_folder


def compile_generator(networks: Networks) -> None:
    """Compile how the networks' pooled pictures are drawn, with its gradient; what is compiled is kept beside the
    weights, in `$ADFD_CACHE/compiled`, for later runs.

    Compiles at once, so that a mistake shows here. Raises AdfdError where that fails, as without a C++ compiler.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled"))
    generator: Any = networks.generator
    name = "synthesis_pooled" if networks.low_pass and hasattr(generator, "synthesis_pooled") else "synthesis"
    plain = getattr(generator, name)
    setattr(generator, name, torch.compile(plain, dynamic=False))
    try:
        s = networks.affine(networks.generator.w_avg[None])
        with torch.no_grad():
            networks.synthesis_pooled(s)
        networks.synthesis_pooled(s.requires_grad_()).sum().backward()
    except (RuntimeError, OSError, ImportError) as error:  # what dynamo and inductor raise are RuntimeErrors
        setattr(generator, name, plain)
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise AdfdError(
            f"hardware.compile=true: the generator cannot be compiled here ({reason}); it takes a C++ compiler "
            "(g++), or hardware.compile=false"
        ) from error
