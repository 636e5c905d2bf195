"""Model stacks: `load_mobile()` gives the embedded one, with `mapping`, `affine`, `synthesis`, `space` and judges."""

from adfd.models.mobile import load_mobile
from adfd.models.networks import Networks
from adfd.models.tiny import load_tiny

__all__ = ["Networks", "load_mobile", "load_tiny"]
