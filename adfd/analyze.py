"""Stage "analyze": generator -> channel statistics. `python -m adfd.analyze --help` lists what can be set."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from tqdm.contrib.logging import logging_redirect_tqdm

from adfd import build, config, progress, stage, tables
from adfd.channels import Channels
from adfd.models.networks import Networks
from adfd.runs import atomic

config.register()
log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=str(config.CONF), config_name="analyze")
def main(cfg: DictConfig) -> None:
    stage.run(analyze, cfg)


def analyze(cfg: DictConfig) -> None:
    """Measure the channels of a generator and write `channels.npz`; started again, only what is missing.

    A copy under the generator's name is what `channels=fitted` then means.
    """
    analysis = build.analysis(cfg)
    networks = build.networks(cfg, channels=analysis.extends)
    announce(analysis, networks, cfg.seed)
    with (
        logging_redirect_tqdm(),
        progress.bar(total=analysis.n_units(networks), desc=analysis.verb, unit=analysis.unit) as bar,
    ):
        channels = analysis(networks, cfg.seed, build.shards(cfg, on_unit=bar.update))
    run = Path(HydraConfig.get().runtime.output_dir)
    save(channels, run / "channels.npz")
    channels.write_csv(run / "channels.csv", networks.space)
    save(channels, Path(cfg.paths.channels_dir) / f"{networks.name}.npz")
    tables.show_channels(channels, networks.space, cfg.fdr, run / "channels.npz")


def announce(analysis: Any, networks: Networks, seed: int) -> None:
    """Say how much work is ahead, by one unit of it done for the clock."""
    n_units, started = analysis.n_units(networks), time.perf_counter()
    analysis.rehearse(networks, seed)
    seconds = time.perf_counter() - started
    log.info(
        "%d %ss to %s, %.2f s each: %.0f min", n_units, analysis.unit, analysis.verb, seconds, n_units * seconds / 60
    )


def save(channels: Channels, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as stream:
        channels.save(stream)


if __name__ == "__main__":
    main()
