"""The judges' readings: the row of one output, and the summary of all rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from adfd.basics.files import Row
from adfd.basics.pooling import pool
from adfd.basics.seeding import output_seed
from adfd.faces.people import People
from adfd.faces.photos import as_img
from adfd.methods.acceptance import natural_spread, style_rms
from adfd.methods.anchors import Anchors
from adfd.methods.objective import TERMS
from adfd.methods.refine import Sample
from adfd.models.networks import Networks
from adfd.runs.background import THREADS
from adfd.runs.directory import RunDirectory, summarize
from adfd.runs.making import Making
from adfd.stylespace.regions import REGIONS, region_shares


def blank_row(making: Making, photo: str, target_age: float, output: int) -> Row:
    """A row without readings: status failed, and None for everything that is unknown."""
    return {
        "photo": photo,
        "output": output,
        "method": making.method_name,
        "reference": making.references[output] if making.references else None,
        "target_age": target_age,
        "status": "failed",
        "reason": "",
        **dict.fromkeys(("source_age", "anchor_age", "age", "id_similarity_source", "id_similarity_anchor")),
        **dict.fromkeys(("p_female", "loss", *(f"loss_{term}" for term in TERMS))),
        **dict.fromkeys(("alpha", "steps", "evaluations", "seconds", "converged")),
        **dict.fromkeys(("age_spread", "anchor_spread", "anchor_doubtful", "style_rms", "reached", "draws")),
        **{f"change_{region}": None for region in REGIONS},
        "seed": making.seed,
        "output_seed": output_seed(making.seed, photo, output),
        "image": None,
        **dict.fromkeys(("pasted", "seam_gradient", "seam_gradient_photo")),
    }


@torch.inference_mode()
def read_output(making: Making, anchors: Anchors, sample: Sample, target_age: float) -> tuple[Row, Tensor | None]:
    """Render a finished sample and judge it: its row, and its picture `[3, H, W]` in [-1, 1].

    The picture is None where the sample failed or its estimated age is not finite; the row then has the reason.
    """
    networks, sources, i = making.networks, anchors.sources, sample.row
    row = blank_row(making, sources.names[i], target_age, sample.output) | {
        "source_age": sources.age[i].item(),
        "anchor_age": anchors.age[i].item(),
        "loss": sample.losses.get("loss"),
        **{f"loss_{term}": sample.losses.get(term) for term in TERMS},
        "alpha": sample.losses.get("alpha"),
        "steps": sample.steps,
        "evaluations": sample.evaluations,
        "seconds": round(sample.seconds, 3),
        "converged": sample.converged,
        "anchor_spread": anchors.spread[i].item(),
        "anchor_doubtful": _exceeded(networks, anchors.age[i].item(), anchors.spread[i].item()) is not None,
        "reached": sample.reached,
        "draws": sum(told["attempt"] != "steps" for told in sample.candidates) or 1,
        "reason": sample.failure,
    }
    if sample.failure:
        return row, None
    img = networks.synthesis(sample.s[None])
    pooled = pool(img)
    embedding = networks.embed(pooled)[0]
    age, spread = (reading.item() for reading in networks.read_age(pooled))
    shares = region_shares(pooled[0] - anchors.img[i])
    if not math.isfinite(age):
        return row | {"reason": "the estimated age of the picture is not a finite number"}, None
    readings = {
        "status": "ok",
        "age": age,
        "age_spread": spread,
        "style_rms": style_rms(networks, sample.s),
        "id_similarity_source": networks.id_similarity(embedding, sources.embedding[i]).item(),
        "id_similarity_anchor": networks.id_similarity(embedding, anchors.embedding[i]).item(),
        "p_female": networks.gender(pooled).exp()[0, 0].item(),
        **{f"change_{region}": share for region, share in zip(REGIONS, shares.tolist(), strict=True)},
    }
    return row | readings, img[0]


def doubtful(networks: Networks, anchors: Anchors) -> list[str]:
    """A line for each doubtful anchor, whose spread over the views exceeds that of 90 % of natural faces of its age."""
    lines = []
    told = zip(
        anchors.sources.names, *(v.tolist() for v in (anchors.target_age, anchors.age, anchors.spread)), strict=True
    )
    for name, target_age, age, spread in told:
        limit = _exceeded(networks, age, spread)
        if limit is not None:
            lines.append(
                f"the anchor of {name} at {target_age:g} is doubtful: its age reads {age:.1f}, but differs by "
                f"{spread:.1f} years between views (natural faces: up to {limit:.1f})"
            )
    return lines


def _exceeded(networks: Networks, age: float, spread: float) -> float | None:
    """The 90 % quantile of natural faces' spread at an age, in years, where `spread` exceeds it; otherwise None."""
    limit = natural_spread(networks.channels, age)
    return limit if limit is not None and spread > limit else None


@torch.inference_mode()
def diversity(networks: Networks, run: RunDirectory) -> list[float]:
    """Mean pairwise perceptual distance between the outputs of each photo and age with several outputs."""
    values = []
    for photo, target_age in dict.fromkeys((row["photo"], row["target_age"]) for row in run.rows):
        rows = run.outputs(photo, target_age)
        if len(rows) > 1:
            with ThreadPoolExecutor(THREADS) as threads:
                img = torch.cat(list(threads.map(lambda row: as_img(Image.open(run.path / row["image"])), rows)))
            features = networks.perceptual.features(pool(img.to(networks.device)))
            a, b = (list(side) for side in zip(*combinations(range(len(rows)), 2), strict=True))
            distance = networks.perceptual.distance([f[a] for f in features], [f[b] for f in features])
            values.append(distance.mean().item())
    return values


def all_failed(rows: Sequence[Row]) -> str:
    """The reason why a run has no output, where all outputs failed; otherwise empty."""
    if not rows or any(row["status"] == "ok" for row in rows):
        return ""
    return f"all {len(rows)} outputs failed: {rows[0]['reason']}"


def summary(networks: Networks, run: RunDirectory, people: People, status: str, seconds: float) -> dict[str, Any]:
    """`summary.json` of a run: means over the rows, and the photos that could not be used with their reasons."""
    return {
        **summarize(run.rows, diversity(networks, run), status, seconds),
        "diversity_metric": networks.perceptual.name,
        "skipped_photos": {face.name: face.reason for face in people.faces if face.status != "ready"},
    }
