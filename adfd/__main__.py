"""Stage "edit": photos -> run directory. `python -m adfd --help` lists what can be set."""

from __future__ import annotations

import logging
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from adfd.basics.errors import AdfdError
from adfd.config import build_shared, command_line, schema
from adfd.runs import console, stage
from adfd.runs.directory import RunDirectory, read_summary

schema.register()
log = logging.getLogger(__name__)


@command_line.entry("edit")
@hydra.main(version_base="1.3", config_path=str(schema.CONF), config_name="edit")
def main(cfg: DictConfig) -> float | None:
    return stage.run(command_line.checked(edit), cfg)


def edit(cfg: DictConfig) -> float | None:
    """Edit all people of `data` at every `target_age`; writes a run directory. Returns the harmonic score."""
    from adfd.config import build_edit

    directory = Path(HydraConfig.get().runtime.output_dir)
    with RunDirectory(directory, build_shared.identity(cfg), build_shared.told(cfg)) as run:
        if build_shared.in_sweep() and build_edit.done(cfg, run):
            log.info("job %s: done already, %d outputs", run.path.name, len(run.rows))
            return read_summary(run.path)["harmonic"]
        if run.rows:
            log.info("job %s: goes on, %d outputs are there", run.path.name, run.count())
        target_ages = build_edit.target_ages(cfg)
        summary = build_edit.edit(cfg, run).everybody(target_ages)
        if summary:
            console.show_run(run, summary)
            if summary["status"] == "failed":
                raise AdfdError(summary["reason"])
        return summary.get("harmonic")


if __name__ == "__main__":
    main()
