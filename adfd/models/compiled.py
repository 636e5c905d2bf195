"""`hardware.compile=true`: compile the generator with `torch.compile`, which takes a minute and speeds up long runs."""

from __future__ import annotations

import os
from typing import Any

import torch

from adfd.basics.errors import AdfdError
from adfd.models.networks import Networks
from adfd.models.weights import cache_folder


def compile_generator(networks: Networks) -> None:
    """Compile the generator's synthesis of pooled pictures and its gradient, in place.

    Compiled code is cached in `$ADFD_CACHE/compiled` for later runs. Compilation happens here, not at the first use.
    Raises AdfdError where it fails, for instance without a C++ compiler.
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
    except (RuntimeError, OSError, ImportError) as error:  # dynamo and inductor raise RuntimeErrors
        setattr(generator, name, plain)
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise AdfdError(
            f"hardware.compile=true: the generator cannot be compiled here ({reason}); it takes a C++ compiler "
            "(g++), or hardware.compile=false"
        ) from error
