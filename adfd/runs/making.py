"""How a job makes its outputs: the anchors of people at an age, and the method's samples from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from adfd.basics import progress
from adfd.basics.seeding import draw
from adfd.methods.anchors import Anchors
from adfd.methods.refine import Sample
from adfd.models.networks import Networks
from adfd.runs.directory import mean

Method = Callable[..., Iterator[Sample]]
StepOf = Callable[[str, float, int, int, dict[str, float]], None]
"""Called at every refinement step with the photo's name, target age in years, output, step, and losses and age."""


@dataclass(frozen=True)
class Making:
    """A method with its settings, the networks and the anchors."""

    networks: Networks
    anchors: Callable[[int, int, float], Anchors]
    """Function (start, stop, target age in years) that returns the anchors of the people start..stop-1."""
    method: Method
    method_name: str
    n_outputs: int
    seed: int
    references: tuple[str, ...] = ()
    """Name of each output's reference photo, for methods with references."""

    def samples(
        self, anchors: Anchors, wanted: list[tuple[int, int]], target_age: float, on_step: StepOf
    ) -> Iterator[Sample]:
        """Samples of the method for the `wanted` (row of the anchors, output) pairs, in the order in which they finish.

        Shows a progress bar and calls `on_step` at every refinement step.
        """
        draws = draw(self.seed, anchors.sources.names, wanted, self.networks.generator.w_dim).to(self.networks.device)
        refinement = getattr(self.method, "keywords", {}).get("refinement")
        expected = refinement.max_steps + 1 if refinement else 1
        title = f"{self.method_name} at {target_age:g}"
        with progress.bar(total=expected * len(wanted), desc=title, unit="step") as bar:
            shown: dict[int, dict[str, float]] = {}

            def after_step(sample: Sample, step: int, losses: dict[str, float]) -> None:
                shown[id(sample)] = losses
                bar.set_postfix_str(state(list(shown.values())), refresh=False)
                bar.update()
                on_step(anchors.sources.names[sample.row], target_age, sample.output, step, losses)

            for sample in self.method(self.networks, anchors, draws, on_step=after_step):
                bar.total += sample.evaluations - expected
                bar.update(sample.searched)
                bar.refresh()
                shown.pop(id(sample), None)
                yield sample

    @torch.inference_mode()
    def render_source(self, anchors: Anchors, row: int) -> Tensor:
        """The inverted source at full resolution, `[3, H, W]` in [-1, 1]."""
        return self.networks.synthesis(self.networks.affine(anchors.sources.w_plus[row][None]))[0]

    @torch.inference_mode()
    def render_anchor(self, anchors: Anchors, row: int) -> Tensor:
        """The anchor at full resolution, `[3, H, W]` in [-1, 1]."""
        return self.networks.synthesis(anchors.s[row][None])[0]


def state(shown: list[dict[str, float]]) -> str:
    """Mean loss and the ages of the samples being refined, for the progress bar."""
    loss = mean([losses.get("loss") for losses in shown])
    ages = " ".join(f"{losses['age']:.0f}" for losses in shown[:6])
    return (f"loss {loss:.4f}, " if loss is not None else "") + f"ages {ages}"
