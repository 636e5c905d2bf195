"""The quantities that an evaluation reports, with their units and sources."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """How a quantity is shown."""

    title: str
    unit: str
    better: str
    """lower | higher | "" where neither is better."""
    digits: int


QUANTITIES = {
    "age_error": Quantity("age error", "years", "lower", 2),
    "age_error_anchor": Quantity("age error to anchor", "years", "lower", 2),
    "id_similarity_source": Quantity("identity to source", "", "higher", 3),
    "id_similarity_anchor": Quantity("identity to anchor", "", "higher", 3),
    "id_similarity_cyclic": Quantity("identity, cyclic", "", "higher", 3),
    "diversity": Quantity("diversity", "", "higher", 3),
    "gender_kept": Quantity("gender kept", "share", "higher", 2),
    "sharpness": Quantity("sharpness", "", "", 3),
    "harmonic": Quantity("harmonic score", "", "higher", 1),
    "evaluations": Quantity("renderings", "per output", "lower", 0),
    "seconds": Quantity("seconds", "per output", "lower", 1),
    "failures": Quantity("failures", "outputs", "lower", 0),
}
