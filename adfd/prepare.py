"""Stage "prepare": photos -> aligned crops and inverted latents. `python -m adfd.prepare data=folder data.path=DIR`."""

from __future__ import annotations

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from adfd import build, config, stage, tables
from adfd.preparing import write_table

config.register()


@hydra.main(version_base="1.3", config_path=str(config.CONF), config_name="prepare")
def main(cfg: DictConfig) -> None:
    stage.run(prepare, cfg)


def prepare(cfg: DictConfig) -> None:
    """Align and invert the photos of `data`, keep both for later runs, and list what became of every photo."""
    people = build.people(cfg)
    table = Path(HydraConfig.get().runtime.output_dir) / "photos.csv"
    write_table(people.faces, table)
    tables.show_photos(people.faces, table)


if __name__ == "__main__":
    main()
