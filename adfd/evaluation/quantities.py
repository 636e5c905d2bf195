"""The quantities that an evaluation reports: titles, units, metrics, and the row columns that the metrics use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adfd.evaluation.kernel_distance import KernelDistance
from adfd.evaluation.metrics import (
    AgeError,
    Diversity,
    Extreme,
    Failures,
    GenderKept,
    HarmonicScore,
    IdSimilarity,
    PhotoMean,
    Sharpness,
    Worst,
)


@dataclass(frozen=True)
class Quantity:
    """How a quantity is labelled and computed from rows."""

    title: str
    unit: str
    better: str
    """lower | higher | "" where neither is better."""
    digits: int
    metric: Callable[[], PhotoMean]
    reads: tuple[str, ...]
    """The row columns with which the metric is updated."""
    judges: tuple[str, ...] = ()
    """Roles of the judges that it depends on: panel, lpips, kid; the stack's age, identity, gender, diversity."""


QUANTITIES = {
    "age_gap": Quantity(
        "panel age to anchor", "years", "lower", 1, AgeError, ("panel_age", "panel_age_anchor"), ("panel",)
    ),
    "age_gap_bias": Quantity("bias", "years", "", 1, PhotoMean, ("age_gap_signed",), ("panel",)),
    "age_gap_extreme": Quantity("95 % below", "years", "lower", 1, Extreme, ("age_gap_signed",), ("panel",)),
    "age_gap_worst": Quantity("worst", "years", "lower", 1, Worst, ("age_gap_signed",), ("panel",)),
    "age_gap_requested": Quantity(
        "panel age to request", "years", "lower", 1, AgeError, ("panel_age", "target_age"), ("panel",)
    ),
    "age_gap_requested_bias": Quantity(
        "bias to request", "years", "", 1, PhotoMean, ("age_gap_requested_signed",), ("panel",)
    ),
    "panel_age": Quantity("panel age", "years", "", 1, PhotoMean, ("panel_age",), ("panel",)),
    "panel_disagreement": Quantity("within panel", "years", "", 1, PhotoMean, ("panel_disagreement",), ("panel",)),
    "panel_supported": Quantity("calibrated share", "share", "", 2, PhotoMean, ("panel_supported",), ("panel",)),
    "judges_disagree": Quantity(
        "panel and loop 10 years apart", "share", "lower", 2, PhotoMean, ("judges_disagree",), ("panel", "age")
    ),
    "id_independent_source": Quantity(
        "independent identity to source", "", "higher", 3, IdSimilarity, ("id_independent_source",), ("panel",)
    ),
    "id_independent_anchor": Quantity(
        "independent identity to anchor", "", "higher", 3, IdSimilarity, ("id_independent_anchor",), ("panel",)
    ),
    "verified": Quantity("verified", "share", "higher", 2, PhotoMean, ("verified",), ("panel",)),
    "gender_kept_independent": Quantity(
        "independent gender kept", "share", "higher", 2, GenderKept, ("male", "male_source"), ("panel",)
    ),
    "passes": Quantity("pass", "share", "higher", 2, PhotoMean, ("passes",), ("panel",)),
    "lpips": Quantity("LPIPS diversity", "", "higher", 3, Diversity, ("lpips",), ("lpips",)),
    "lpips_matched": Quantity(
        "LPIPS of those that pass", "", "higher", 3, Diversity, ("lpips_matched",), ("lpips", "panel")
    ),
    "lpips_credited": Quantity(
        "LPIPS, failures worth 0", "", "higher", 3, Diversity, ("lpips_credited",), ("lpips", "panel")
    ),
    "kid": Quantity(
        "KID of VGG-16 features, times 1000", "", "lower", 1, KernelDistance, ("vgg16", "target_age"), ("kid",)
    ),
    "verified_in_loop": Quantity(
        "verified by the loop's", "share", "higher", 2, PhotoMean, ("verified_in_loop",), ("identity",)
    ),
    "age": Quantity("estimated age", "years", "", 1, PhotoMean, ("age",), ("age",)),
    "age_error": Quantity("age error", "years", "lower", 2, AgeError, ("age", "target_age"), ("age",)),
    "age_error_anchor": Quantity("age error to anchor", "years", "lower", 2, AgeError, ("age", "anchor_age"), ("age",)),
    "id_similarity_source": Quantity(
        "identity to source", "", "higher", 3, IdSimilarity, ("id_similarity_source",), ("identity",)
    ),
    "id_similarity_anchor": Quantity(
        "identity to anchor", "", "higher", 3, IdSimilarity, ("id_similarity_anchor",), ("identity",)
    ),
    "id_similarity_cyclic": Quantity(
        "identity, cyclic", "", "higher", 3, IdSimilarity, ("id_similarity_cyclic",), ("identity",)
    ),
    "diversity": Quantity("diversity", "", "higher", 3, Diversity, ("diversity",), ("diversity",)),
    "gender_kept": Quantity(
        "gender kept", "share", "higher", 2, GenderKept, ("p_female", "p_female_source"), ("gender",)
    ),
    "sharpness": Quantity("sharpness", "", "", 3, Sharpness, ("sharpness",)),
    "harmonic": Quantity(
        "harmonic score",
        "",
        "higher",
        1,
        HarmonicScore,
        ("age", "target_age", "id_similarity_source"),
        ("age", "identity"),
    ),
    "evaluations": Quantity("renderings", "per output", "lower", 0, PhotoMean, ("evaluations",)),
    "seconds": Quantity("seconds", "per output", "lower", 1, PhotoMean, ("seconds",)),
    "failures": Quantity("failures", "outputs", "lower", 0, Failures, ("failed",)),
}
