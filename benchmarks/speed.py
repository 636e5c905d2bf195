"""What is quicker than the plain path, side by side in one run: `make benchmark` (`python -m benchmarks.speed`).

Leaves RESULTS.md and RESULTS.json in this folder. All times are CPU seconds of one thread.

    python -m benchmarks.speed step inversion reading output guided sam      only some parts; what others left stays
"""

from __future__ import annotations

import copy
import json
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

from adfd.basics.allocator import keep_freed_memory
from adfd.basics.files import Row
from adfd.basics.pooling import pool
from adfd.basics.seeding import draw
from adfd.config import schema
from adfd.config.build_edit import method
from adfd.config.build_shared import STACK, plain
from adfd.evaluation import calibration
from adfd.evaluation.independent import Independent
from adfd.evaluation.panel import load_panel, missing
from adfd.faces import portraits
from adfd.faces.invert import Inversion, invert
from adfd.faces.people import synthetic_people
from adfd.faces.photos import as_img
from adfd.faces.prepared import crops
from adfd.methods.anchors import Anchors, transformed_anchors
from adfd.methods.guided import guided_anchors
from adfd.methods.objective import objective
from adfd.models import fetch, load_mobile, load_sam
from adfd.models.draft import Draft
from adfd.models.faceres import load_faceres
from adfd.models.lpips_alex import load_lpips
from adfd.models.networks import Networks
from adfd.models.sources import Sources
from adfd.report.markdown import records
from benchmarks.timing import counted_waits, machine, side_by_side

HERE = Path(__file__).parent
PERSONS, AGES = (101, 102, 103), (20.0, 70.0)
HELD_OUT = (208, 202)  # no setting was chosen on them
BEFORE = [
    *("channels.weights=paper", "realign.max_moves=0", "accept.check=false", "redraws=0", "views=one"),
    *("method.perturbation.antithetic=false", "method.perturbation.scale=1", "loss=paper"),
    *("refine.max_steps=40", "refine.views=first", "refine.keep=best", "model.low_pass=false"),
]
"""The settings of commit d34fd3d, on this code."""
FORMULA = ("sam_ffhq_aging.pt", "model_ir_se50.pth", "dex_age_classifier.pth")


def configured(*overrides: str) -> Any:
    schema.register()
    with initialize_config_dir(str(schema.CONF), version_base="1.3"):
        return compose("edit", overrides=list(overrides))


def both(networks: Networks) -> dict[str, Networks]:
    """The networks on the plain path and with the low-pass head."""
    drawn_in_full = copy.copy(networks)
    drawn_in_full.low_pass = False
    return {"plain path": drawn_in_full, "low-pass head": networks}


def compared(what: str, ways: dict[str, Callable[[], object]], rounds: int, warm: bool = True) -> list[Row]:
    """A row for each way; `ratio` says how many times as fast as the first it is."""
    taken = side_by_side(ways, rounds, warm)
    first = next(iter(taken.values()))
    return [
        {"what": what, "way": way, "cpu_seconds": seconds, "ratio": first / seconds} for way, seconds in taken.items()
    ]


def refinement_step(networks: Networks, anchors: Anchors) -> None:
    """Forward and backward of the default loss, as refine does it."""
    loss = instantiate(configured().loss)
    s = anchors.s[:1].clone().requires_grad_()
    objective(networks, networks.synthesis_pooled(s), anchors.constants([0]), loss, None).total.sum().backward()


def step(networks: Networks, sources: Sources) -> list[Row]:
    """A refinement step."""
    anchors = transformed_anchors(networks, sources[:1], 60.0, 1)
    stacks = both(networks) | {"on the draft": networks.drafting()}
    ways = {name: partial(refinement_step, way, anchors) for name, way in stacks.items()}
    return compared("refinement step", ways, rounds=5)


def inversion(networks: Networks, sources: Sources) -> list[Row]:
    """Photos inverted with today's weights on the generator alone, and by default, mostly on its draft."""
    kept = instantiate(configured().prepare, _convert_="all")
    with tempfile.TemporaryDirectory() as folder:
        photos = [next(crops(path, kept))[0] for path in portraits.put(Path(folder) / "photos")]
    imgs = [pool(as_img(photo)) for photo in photos if not isinstance(photo, str)]
    found: dict[str, list[Inversion]] = {}

    def run(way: str, **lengths: int | float) -> None:
        found[way] = [invert(networks, img, **lengths, **kept.weights) for img in imgs]

    now = {"steps": kept.steps, "full_steps": kept.full_steps, "lr": kept.lr}
    before = {"steps": 100, "lr": 0.06}
    ways = {"100 steps of the generator": before, f"{kept.steps} steps, {kept.full_steps} of them the generator's": now}
    taken = {way: partial(run, way, **lengths) for way, lengths in ways.items()}  # type: ignore[arg-type]
    rows = compared("inversion of a photo", taken, rounds=1, warm=False)
    judge = load_faceres() if fetch.FACERES.is_there() else None
    for row in rows:
        made = found[row["way"]]
        row["cpu_seconds"] /= len(imgs)
        row["photos"] = len(imgs)
        row["perceptual"] = statistics.mean(one.perceptual.item() for one in made)
        if judge:
            drawn = torch.cat([networks.render(networks.affine(one.w_plus)) for one in made])
            seen, wanted = judge(drawn).descriptor, judge(torch.cat(imgs)).descriptor
            row["independent_identity"] = judge.similarity(seen, wanted).mean().item()
    return rows


def reading(networks: Networks, sources: Sources) -> list[Row]:
    """A picture with its age over the wide views, without a gradient."""
    asked = {name: way.with_views(instantiate(configured().views)) for name, way in both(networks).items()}
    s = networks.affine(sources.w_plus[:1])
    return compared(
        "rendering and reading", {name: partial(way.render_read, s, 1, "pooled") for name, way in asked.items()}, 5
    )


@dataclass(frozen=True)
class Made:
    """Outputs of each person at each age, two each, beside their anchors."""

    s: Tensor
    """`[M, C]`"""
    s_anchor: Tensor
    """`[M, C]`"""
    evaluations: list[int]

    @torch.no_grad()
    def quality(self, networks: Networks, judges: Independent) -> Row:
        """What the independent judges say: years to the anchor, identity to the anchor, distance within a pair."""
        gaps, similar, apart = [], [], []
        for s, s_anchor in zip(self.s.split(2), self.s_anchor.split(2), strict=True):
            rows = judges.read(networks.synthesis(s), {"anchor": networks.synthesis(s_anchor[:1])})
            for row in judges.complete([row | {"target_age": 0.0} for row in rows]):
                gaps.append(abs(row["age_gap_signed"]))
                similar.append(row["id_independent_anchor"])
                apart.append(row["lpips"])
        told = {"panel_years_to_anchor": gaps, "identity_to_anchor": similar, "lpips": apart}
        return {name: statistics.mean(values) for name, values in told.items()}


def outputs(networks: Networks, sources: Sources, overrides: list[str]) -> Made:
    """Diversified outputs of each person at each age, two each."""
    cfg = configured("n_outputs=2", *overrides)
    stack = networks.with_views(instantiate(cfg.views))
    s, s_anchor, evaluations = [], [], []
    for age in AGES:
        anchors = transformed_anchors(stack, sources, age, 1)
        anchors = guided_anchors(stack, anchors, instantiate(cfg.path), instantiate(cfg.search), 1)
        wanted = [(row, output) for row in range(len(sources)) for output in range(2)]
        draws = draw(0, sources.names, wanted, networks.generator.w_dim)
        samples = list(method(cfg)[1](stack, anchors, draws, on_step=lambda *_: None))
        for sample in sorted(samples, key=lambda sample: (sample.row, sample.output)):
            s.append(sample.s)
            s_anchor.append(anchors.s[sample.row])
            evaluations.append(sample.evaluations)
    return Made(torch.stack(s).detach(), torch.stack(s_anchor), evaluations)


def output(networks: Networks, sources: Sources) -> list[Row]:
    """A default output against the settings of d34fd3d on the plain path; anchors counted with both."""
    people = synthetic_people(networks, HELD_OUT, psi=0.7).sources
    made = {}

    def make(name: str, way: Networks, overrides: list[str]) -> None:
        made[name] = outputs(way, people, overrides)

    full, low = both(networks).values()
    ways = {
        "d34fd3d: 40 steps": partial(make, "d34fd3d: 40 steps", full, BEFORE),
        "default": partial(make, "default", low, []),
    }
    rows = compared(f"an output at {' and '.join(f'{age:g}' for age in AGES)}", ways, rounds=1, warm=False)
    there = not missing() and fetch.ALEXNET.is_there()
    loads = {"panel": cache(load_panel), "lpips": cache(load_lpips)}
    judges = Independent(**loads, calibration=calibration.shipped(), batch_size=2)
    for row in rows:
        known = made[row["way"]]
        row["cpu_seconds"] /= len(known.s)
        row["evaluations"] = statistics.mean(known.evaluations)
        row |= known.quality(networks, judges) if there else {}
    return rows


def waits(networks: Networks, sources: Sources) -> list[Row]:
    """How often the host waits for the device in a refinement step and in one of inversion."""
    rows = []
    anchors = transformed_anchors(networks, sources[:1], 60.0, 1)
    cfg = configured("realign.max_moves=0", "accept.check=false", "views=one", "refine.keep=last", "refine.patience=99")
    n = {}
    for steps in (1, 3):
        cfg.refine.max_steps = steps
        draws = draw(0, sources.names[:1], [(0, 0)], networks.generator.w_dim)
        with counted_waits() as asked:
            list(method(cfg)[1](networks, anchors, draws, on_step=lambda *_: None))
        n[steps] = len(asked)
    rows.append({"what": "waits of the host in a refinement step", "way": "default", "count": (n[3] - n[1]) / 2})
    kept = instantiate(configured().prepare, _convert_="all")
    for steps in (1, 3):
        with counted_waits() as asked:
            invert(networks, sources.img[:1], steps=steps, lr=kept.lr, **kept.weights)
        n[steps] = len(asked)
    rows.append({"what": "waits of the host in an inversion step", "way": "default", "count": (n[3] - n[1]) / 2})
    return rows


def guided(networks: Networks, sources: Sources) -> list[Row]:
    """Renderings of the guided method until the target age is read, over persons and ages."""
    cfg = configured("method=guided")
    stack = networks.with_views(instantiate(cfg.views))
    found = []
    for age in (8.0, *AGES):
        anchors = transformed_anchors(stack, sources, age, 1)
        wanted = [(row, 0) for row in range(len(sources))]
        draws = draw(0, sources.names, wanted, networks.generator.w_dim)
        found += list(method(cfg)[1](stack, anchors, draws, on_step=lambda *_: None))
    counts = sorted(sample.evaluations for sample in found)
    told = {"median": statistics.median(counts), "most": counts[-1], "reached": sum(s.converged for s in found)}
    return [{"what": "renderings of guided at 8, 20, 70", "way": "default", "faces": len(found), **told}]


def sam(networks: Networks, sources: Sources) -> list[Row]:
    """A refinement step of the SAM stack at full size, on weights of the published form with values from a formula."""
    from tests.sam_formula import folder  # tests is no package of an installed adfd

    if not all((folder() / file).exists() for file in FORMULA):
        print("no files of the published form: python -m tests.sam_formula makes them", file=sys.stderr)
        return []
    paths = dict(zip(("sam", "arcface", "dex"), (folder() / file for file in FORMULA), strict=True))
    cfg = configured("model=sam", *(f"model.{key}={path}" for key, path in paths.items()))
    known = {key: value for key, value in plain(cfg.model).items() if key not in NOT_LOADED}
    stack = load_sam(**known | {"channels": None})
    s = stack.affine(stack.generator.w_avg[None]).detach()

    peaks: dict[str, float] = {}

    def once(way: str, stack: Networks) -> None:
        code = s.clone().requires_grad_()
        img = stack.synthesis_pooled(code)
        maps = stack.perceptual.features(img)
        (stack.age(img).sum() + stack.embed(img).square().sum() + sum(m.square().mean() for m in maps)).backward()
        peaks.setdefault(way, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)

    stack.draft = Draft(stack.name, stack.space, 256, widths=[96, 64, 64], rank=96).requires_grad_(False)  # untaught
    stacks = {"on the draft": stack.drafting(), "default": stack}  # in this order, since a peak lasts
    rows = compared("SAM: refinement step", {way: partial(once, way, one) for way, one in stacks.items()}, rounds=1)
    return [row | {"peak_gb": peaks[row["way"]], "ratio": rows[1]["cpu_seconds"] / row["cpu_seconds"]} for row in rows]


NOT_LOADED = ("_target_", *STACK)
PARTS = {
    "step": step,
    "inversion": inversion,
    "reading": reading,
    "output": output,
    "waits": waits,
    "guided": guided,
    "sam": sam,
}


def main() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    chosen = sys.argv[1:] or list(PARTS)
    networks = load_mobile()
    sources = synthetic_people(networks, PERSONS, psi=0.7).sources
    results = HERE / "RESULTS.json"
    told = json.loads(results.read_text()) if results.exists() else {"parts": {}}
    for name in chosen:
        rows = PARTS[name](networks, sources)
        if rows:
            told["parts"][name] = {"machine": machine(), "rows": rows}
            print(records(rows), flush=True)
        results.write_text(json.dumps(told, indent=2) + "\n")
        (HERE / "RESULTS.md").write_text(page(told))


def page(told: Row) -> str:
    """All parts as Markdown, each with its machine where that differs."""
    lines = [
        "# Measured by `make benchmark`",
        "",
        "CPU seconds of one thread; `ratio`: times as fast as the first way.",
    ]
    for part in told["parts"].values():
        own = part["machine"]
        lines += ["", records(part["rows"]), ""]
        lines += [
            f"{own['cpu']}, {own['cores']} cores{', AVX-512' if own['avx512'] else ''}, {own['threads']} thread, "
            f"torch {own['torch']}, Python {own['python']}; others' load {own['load_of_others']}"
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
