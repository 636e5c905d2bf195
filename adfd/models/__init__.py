"""Model stacks: generator, age transformer and judges behind one interface. `load_mobile()` loads the embedded one."""

from adfd.models.mobile import load_mobile
from adfd.models.networks import Networks
from adfd.models.sam import load_sam, load_stylegan2
from adfd.models.tiny import load_tiny

__all__ = ["Networks", "load_mobile", "load_sam", "load_stylegan2", "load_tiny"]
