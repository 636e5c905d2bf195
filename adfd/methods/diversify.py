"""The paper's first method: perturb the channels that depend on age but not on identity, then refine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from adfd.basics.batching import row_by_row
from adfd.basics.errors import AdfdError
from adfd.basics.seeding import Draws, stream
from adfd.methods.acceptance import Acceptance, Verdict, judge, rms_limit, same_side, shortened
from adfd.methods.anchors import Anchors
from adfd.methods.objective import LossWeights, objective
from adfd.methods.realign import Candidate, Paths, Realignment, paths_around, realign
from adfd.methods.refine import OnStep, Refinement, Sample, refine
from adfd.models.networks import REMEDY, Networks
from adfd.stylespace.layout import StyleSpace
from adfd.stylespace.statistics import Channels
from adfd.stylespace.weights import ChannelWeights, channel_weights

MOST_SCREENED = 64  # after skipping this many styles, screening takes the next one unchecked
RMS_MARGIN = 0.97  # share of the accepted rms to which perturbations are shortened, since realignment may add to it


@dataclass(frozen=True)
class Perturbation:
    """How a random style is added to the anchor's code. Raises AdfdError for impossible settings."""

    scale: float
    """Factor on the random style; 0 for no perturbation."""
    center: bool
    """true: add the random style's difference from the mean style. false: add the random style itself, as published.

    The latter also adds the mean style, which only a generator with demodulated convolutions tolerates.
    """
    mask: str
    """weights (from the channel analysis) | uniform | random (the last two are ablations of the analysis)."""
    weights: ChannelWeights
    """How channel weights are computed from the channel statistics."""
    antithetic: bool
    """true: every second output adds the `opposite` of what the one before it adds, draw by draw, so that the two
    differ more than independent draws do (antithetic variates). false: all draws are independent, as published."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise AdfdError(f"method.perturbation.scale must be a finite number, got {self.scale}")
        if self.mask not in ("weights", "uniform", "random"):
            raise AdfdError(f"method.perturbation.mask must be weights, uniform or random, got {self.mask}")


def diversify(
    networks: Networks,
    anchors: Anchors,
    draws: Draws,
    *,
    perturbation: Perturbation,
    loss: LossWeights,
    refinement: Refinement,
    on_step: OnStep,
    realignment: Realignment | None = None,
    acceptance: Acceptance | None = None,
    redraws: int = 0,
    batch_size: int = 1,
    age_image: str = "pooled",
) -> Iterator[Sample]:
    """Perturb each anchor's code, realign it to the anchor's age, redraw it until it is accepted, then refine it.

    The perturbed code is `s_anchor + scale * m * S`. `S` is the style of the random latent `z`, minus the mean style if
    `perturbation.center` is true; `m` is the mask. Where none of an output's 1 + `redraws` candidates is accepted, the
    refinement starts from the one with the smallest total excess. The refined code is realigned (if
    `realignment.after_steps` is true) and judged again; where it is rejected although its start was accepted, the start
    is the output. `reached` tells whether the output is accepted.

    Without realignment (None or `max_moves` 0) and without acceptance (None or `check` false) this is the published
    method: perturb and refine, with `reached` None. Raises AdfdError where one of the two is used and the other is
    None, or where the networks lack the statistics that the settings need.
    """
    free = movable(networks, perturbation, refinement)
    if not (realignment and realignment.max_moves) and not (acceptance and acceptance.check):
        z = torch.stack([next(latents(draws, i, perturbation)) for i in range(len(draws.rows))]).to(anchors.s)
        s_0 = perturb(networks, anchors.s[list(draws.rows)], z, perturbation, odd(draws.outputs))
        seeds = draws.seeds or (0,) * len(draws.rows)
        triples = zip(draws.rows, draws.outputs, s_0, seeds, strict=True)
        samples = [Sample(row, output, s, seed=seed) for row, output, s, seed in triples]
        yield from refine(networks, anchors, samples, loss, refinement, on_step, free)
        return
    if realignment is None or acceptance is None:
        raise AdfdError("diversify needs realign and accept together, or neither")
    paths, together = paths_around(networks, anchors, realignment), max(batch_size, refinement.batch_size)
    starts = Starts(networks, anchors, draws, perturbation, realignment, acceptance, batch_size, age_image)
    at_start: dict[tuple[int, int], dict[str, float]] = {}

    def note(sample: Sample, step: int, losses: dict[str, float]) -> None:
        if not refinement.draft_steps:  # the draft's readings are not the generator's
            at_start.setdefault((sample.row, sample.output), losses)
        on_step(sample, step, losses)

    for first in range(0, len(draws.rows), together):
        samples = starts.find(range(first, min(first + together, len(draws.rows))), redraws, paths)
        before = {(sample.row, sample.output): (sample.s, sample.reached) for sample in samples}
        refined = list(refine(networks, anchors, samples, loss, refinement, note, free))
        starts.realign_again([one for one in refined if one.s is not before[one.row, one.output][0]], paths, loss)
        for sample in refined:
            start, reached = before[sample.row, sample.output]
            if reached and not sample.reached:
                sample.s, sample.reached = start, reached
                sample.losses = at_start.get((sample.row, sample.output)) or starts.losses(sample, loss)
            yield sample


def movable(networks: Networks, perturbation: Perturbation, refinement: Refinement) -> Tensor | None:
    """The channels that the refinement may move, `[C]`, bool; None for all convolution channels.

    Raises AdfdError where `refinement.channels` needs channel statistics that the networks do not have.
    """
    if refinement.channels == "all":
        return None
    if networks.channels is None:
        raise AdfdError(f"refine.channels needs channel statistics, and {networks.name} has none; {REMEDY}")
    if refinement.channels == "age":
        return networks.channels.significant("age", perturbation.weights.fdr).to(networks.device)
    return mask(networks.channels, networks.space, perturbation).to(networks.device) > 0


@dataclass(frozen=True)
class Starts:
    """Finds the codes from which refinements start. Each output draws its latents from its own stream."""

    networks: Networks
    anchors: Anchors
    draws: Draws
    perturbation: Perturbation
    realignment: Realignment
    acceptance: Acceptance
    batch_size: int
    age_image: str

    def find(self, chosen: range, redraws: int, paths: Paths) -> list[Sample]:
        """One sample for each chosen draw: the first accepted candidate of the first draw and up to `redraws` more.

        Where none is accepted: the candidate with the smallest total excess, with `reached` False.
        """
        streams = {i: latents(self.draws, i, self.perturbation) for i in chosen}
        best: dict[int, tuple[float, Sample]] = {}
        records: dict[int, list[dict[str, Any]]] = {i: [] for i in chosen}
        spent = dict.fromkeys(chosen, (0, 0.0))
        open_ = list(chosen)
        for attempt in range(redraws + 1):
            drawn = [self._start(i, streams[i]) for i in open_]
            settings = (self.realignment, paths, self.batch_size, self.age_image)
            found = realign(self.networks, self.anchors, [sample for sample, _ in drawn], *settings)
            for i, (sample, screened), candidate in zip(list(open_), drawn, found, strict=True):
                verdict = self._judge(candidate)
                spent[i] = (spent[i][0] + candidate.evaluations, spent[i][1] + candidate.seconds)
                records[i].append(_record(attempt, screened, candidate, verdict))
                sample.s, sample.reached = candidate.s, verdict.accepted
                excess = sum(verdict.excess.values())
                if i not in best or excess < best[i][0]:
                    best[i] = (excess, sample)
                if verdict.accepted:
                    open_.remove(i)
            if not open_:
                break
        samples = []
        for i in chosen:
            sample = best[i][1]
            sample.candidates, (sample.searched, sample.seconds) = records[i], spent[i]
            sample.evaluations = sample.searched
            samples.append(sample)
        return samples

    def _start(self, i: int, drawn: Iterator[Tensor]) -> tuple[Sample, int]:
        """The next perturbed code of output `i`, and the number of styles that the screening skipped.

        A latent and its opposite have the same readout of gender, so both are screened by the latent. A perturbation
        that exceeds the accepted rms is shortened before anything is rendered.
        """
        row = self.draws.rows[i]
        p_female = self.anchors.log_gender[row, 0].exp().item()
        screens = self.acceptance.check and self.acceptance.gender
        screened, z = 0, next(drawn).to(self.anchors.s)[None]
        while screens and not same_side(self.networks.channels, self.networks.mapping(z)[0], p_female):
            screened, z = screened + 1, next(drawn).to(self.anchors.s)[None]
            if screened == MOST_SCREENED:
                break
        output, anchor = self.draws.outputs[i], self.anchors.s[row]
        s = perturb(self.networks, anchor[None], z, self.perturbation, odd([output]))[0]
        if self.acceptance.check:
            limit = rms_limit(self.networks, anchor, self.acceptance)
            s = shortened(self.networks, anchor, s, RMS_MARGIN * limit)
        return Sample(row, output, s, seed=self.draws.seeds[i]), screened

    def _judge(self, found: Candidate) -> Verdict:
        reading = (found.s, found.img, found.age, found.spread)
        return judge(self.networks, self.anchors, found.row, *reading, self.acceptance)

    def realign_again(self, refined: list[Sample], paths: Paths, loss: LossWeights) -> None:
        """Realign refined codes to their anchors' ages where `after_steps` asks for it, and judge them.

        Updates the samples in place: `reached` tells whether the code is accepted. Samples with a failure are left out.
        """
        whole = [sample for sample in refined if not sample.failure]
        moves = self.realignment if self.realignment.after_steps else replace(self.realignment, max_moves=0)
        found = realign(self.networks, self.anchors, whole, moves, paths, self.batch_size, self.age_image)
        for sample, moved in zip(whole, found, strict=True):
            verdict = self._judge(moved)
            sample.candidates.append(_record("steps", 0, moved, verdict))
            sample.evaluations += moved.evaluations
            sample.searched += moved.evaluations
            sample.seconds += moved.seconds
            sample.s, sample.reached = moved.s, verdict.accepted
            sample.losses = self.losses(sample, loss, moved.img[None])

    @torch.no_grad()
    def losses(self, sample: Sample, loss: LossWeights, img: Tensor | None = None) -> dict[str, float]:
        """Loss, terms and age of a sample's code, whose picture is `img` `[1, 3, 256, 256]` or still to be drawn."""
        drawn = self.networks.render(sample.s[None]) if img is None else img
        (found,) = objective(self.networks, drawn, self.anchors.constants([sample.row]), loss, None).readings()
        return found


def _record(attempt: int | str, screened: int, found: Candidate, verdict: Verdict) -> dict[str, Any]:
    told = {"attempt": attempt, "screened": screened, "accepted": verdict.accepted, "reason": verdict.reason}
    read = {"age": found.age, "age_spread": found.spread, "id_similarity_anchor": verdict.identity}
    return told | read | {"p_female": verdict.p_female, "style_rms": verdict.rms, "evaluations": found.evaluations}


def latents(draws: Draws, i: int, perturbation: Perturbation) -> Iterator[Tensor]:
    """The latents that draw `i` may use, in order: those of its own stream, or of its pair's if they are antithetic."""
    if perturbation.antithetic and draws.pair_seeds:
        return stream(draws.pair_seeds[i], draws.z.shape[1])
    return stream(draws.seeds[i], draws.z.shape[1]) if draws.seeds else iter([draws.z[i]])


def odd(outputs: Sequence[int]) -> Tensor:
    """Which of the outputs are the second of their pair, `[M]`, bool."""
    return torch.tensor([output % 2 == 1 for output in outputs])


def opposite(networks: Networks, w: Tensor) -> Tensor:
    """`w` `[M, 512]` reflected at the mean `w_avg`, all but what the linear readout of gender reads."""
    mean = networks.generator.w_avg.to(w)
    difference, readout = w - mean, networks.channels.gender_readout if networks.channels else None
    if readout is None:
        return mean - difference
    direction = torch.nn.functional.normalize(readout.to(w), dim=0)
    return mean - difference + 2 * (difference @ direction)[:, None] * direction


@torch.no_grad()
def perturb(
    networks: Networks, s_anchor: Tensor, z: Tensor, perturbation: Perturbation, second: Tensor | None = None
) -> Tensor:
    """Perturb codes `s_anchor` `[M, C]` by the styles of latents `z` `[M, 512]`: `[M, C]`.

    `second` `[M]`, bool, tells who is the second of a pair, and adds the opposite if the perturbation is antithetic.
    Raises AdfdError where the networks have no channel statistics.
    """
    if networks.channels is None:
        raise AdfdError(f"diversify needs channel weights, and {networks.name} has none; {REMEDY}")
    w = row_by_row(networks.mapping, z)
    if perturbation.antithetic and second is not None:
        w = torch.where(second.to(w.device)[:, None], row_by_row(lambda w: opposite(networks, w), w), w)
    s = row_by_row(networks.affine, w)
    if perturbation.center:
        s = s - networks.s_mean
    m = mask(networks.channels, networks.space, perturbation).to(s)
    return s_anchor + perturbation.scale * m * s


def mask(channels: Channels, space: StyleSpace, perturbation: Perturbation) -> Tensor:
    """The mask `m` `[C]`, by which the random style is multiplied.

    weights: the channel weights, in 0..1. uniform: their mean over the convolution channels, on each of these channels.
    random: random numbers between 0 and twice that mean, always the same, on each of them. The latter two are 0 on
    toRGB channels.
    """
    m = channel_weights(channels, space, perturbation.weights)
    if perturbation.mask == "weights":
        return m
    mean = m[space.conv_mask].mean()
    if perturbation.mask == "uniform":
        return mean * space.conv_mask
    return 2 * mean * torch.rand(len(m), generator=torch.Generator().manual_seed(0)) * space.conv_mask
