"""Names of a stack's judges, derived from its settings without loading it; results are labelled with them."""

from __future__ import annotations

from typing import Any


def judge_names(model: dict[str, Any]) -> dict[str, str]:
    """Names of the judges of "age", "identity", "gender" and "diversity" for a `model` config.

    Judges of the same name give the same readings, whichever stack they belong to.
    """
    diversity = model.get("perceptual", "face_features")
    stack = model["_target_"].rpartition("load_")[2]
    if stack == "tiny":
        random = "" if diversity == "lpips" else "random "
        return dict.fromkeys(("age", "identity", "gender"), "random") | {"diversity": f"{random}{diversity}"}
    published = stack == "sam" or model.get("judges") == "sam"
    return {
        "age": "DEX" if published else "dlib age",
        "identity": "ArcFace" if published else "dlib face",
        "gender": "dlib gender",
        "diversity": diversity,
    }
