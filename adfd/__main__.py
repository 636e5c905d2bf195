"""Stage "edit": photos -> run directory. `python -m adfd --help` lists what can be set."""

from __future__ import annotations

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from adfd import build, config, stage, tables
from adfd.editing import describe
from adfd.runs import RunDirectory

config.register()


@hydra.main(version_base="1.3", config_path=str(config.CONF), config_name="edit")
def main(cfg: DictConfig) -> None:
    stage.run(edit, cfg)


def edit(cfg: DictConfig) -> None:
    """Edit everybody in `data` at every `target_age`; leave a run directory."""
    run = RunDirectory(Path(HydraConfig.get().runtime.output_dir), build.plain(cfg))
    try:
        target_ages = build.target_ages(cfg)
        job = build.edit(cfg, run)
    except Exception as error:
        run.save_summary({"status": "failed", "reason": describe(error)})
        raise
    summary = job.everybody(target_ages)
    if summary:
        tables.show_run(run, summary)


if __name__ == "__main__":
    main()
