"""Stage "distill": generator -> its draft. `python -m adfd.distill --help` lists what can be set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from tqdm.contrib.logging import logging_redirect_tqdm

from adfd.basics import progress
from adfd.basics.files import Row, append_line, atomic
from adfd.config import build_shared, command_line, schema
from adfd.runs import console, stage
from adfd.runs.outcome import outcome

if TYPE_CHECKING:
    from adfd.models.draft import Draft

schema.register()


@command_line.entry("distill")
@hydra.main(version_base="1.3", config_path=str(schema.CONF), config_name="distill")
def main(cfg: DictConfig) -> None:
    stage.run(command_line.checked(distill), cfg)


def distill(cfg: DictConfig) -> None:
    """Teach a draft, measure it as it learns, and show its pictures under the generator's.

    Writes `draft.npz`, which every measurement replaces: an interrupted run leaves the draft as it was then. Beside it
    `fidelity.jsonl`, a line per measurement, and `draft.png`.
    """
    from adfd.report.draft_sheet import draft_sheet

    run = Path(HydraConfig.get().runtime.output_dir)
    with outcome(run) as told:
        distillation = build_shared.settings(cfg.distillation)
        networks = build_shared.networks(cfg, without=["draft"])
        bar = progress.bar(total=distillation.steps, desc="distil", unit="step")

        def on_step(draft: Draft, row: Row) -> None:
            if row:
                told.summary = row
                append_line(run / "fidelity.jsonl", row)
                with atomic(run / "draft.npz") as stream:
                    draft.save(stream)
                bar.set_postfix(psnr=f"{row['psnr']:.1f} dB", id_similarity=f"{row['id_similarity']:.3f}")
            bar.update()

        with bar, logging_redirect_tqdm():
            draft = distillation(networks, cfg.seed, on_step)
        draft_sheet(networks, draft, cfg.seed).save(run / "draft.png")
    console.show("draft against generator", list(told.summary), [list(told.summary.values())])
    console.show_path("pictures", run / "draft.png")
    console.show_path("draft", run / "draft.npz")


if __name__ == "__main__":
    main()
