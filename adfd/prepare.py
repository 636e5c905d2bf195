"""Stage "prepare": photos -> aligned crops and inverted latents. `python -m adfd.prepare data=folder data.path=DIR`."""

from __future__ import annotations

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from adfd.config import command_line, schema
from adfd.runs import console, stage

schema.register()


@command_line.entry("prepare")
@hydra.main(version_base="1.3", config_path=str(schema.CONF), config_name="prepare")
def main(cfg: DictConfig) -> None:
    stage.run(command_line.checked(prepare), cfg)


def prepare(cfg: DictConfig) -> None:
    """Align and invert the photos of `data`, cache both for later runs, and list every photo's status."""
    from adfd.config import build_prepare
    from adfd.faces.prepared import write_table

    people = build_prepare.people(cfg)
    table = Path(HydraConfig.get().runtime.output_dir) / "photos.csv"
    write_table(people.faces, table)
    console.show_photos(people.faces, table)


if __name__ == "__main__":
    main()
