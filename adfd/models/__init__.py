"""Model stacks, with `mapping`, `affine`, `synthesis`, `space` and judges: `load_mobile()` is the embedded one."""

from adfd.models.mobile import load_mobile
from adfd.models.networks import Networks
from adfd.models.sam import load_sam, load_stylegan2
from adfd.models.tiny import load_tiny

__all__ = ["Networks", "load_mobile", "load_sam", "load_stylegan2", "load_tiny"]
