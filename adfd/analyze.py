"""Stage "analyze": generator -> channel statistics and age path. `python -m adfd.analyze analysis.n_samples=2000`."""

from __future__ import annotations

import logging
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from adfd import build, config, progress, stage, tables
from adfd.runs import atomic

config.register()
log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=str(config.CONF), config_name="analyze")
def main(cfg: DictConfig) -> None:
    stage.run(analyze, cfg)


def analyze(cfg: DictConfig) -> None:
    """Sample faces, correlate their StyleSpace codes with age and identity, and write `channels.npz`.

    A copy under the generator's name is what `channels=fitted` then means.
    """
    analysis = build.analysis(cfg)
    networks = build.networks(cfg, channels=False)
    with progress.bar(total=cfg.analysis.n_samples, desc="sample", unit="face") as bar:
        channels = analysis(networks, seed=cfg.seed, on_batch=bar.update)
    path = Path(HydraConfig.get().runtime.output_dir) / "channels.npz"
    channels.save(path)
    fitted = Path(cfg.paths.channels_dir) / f"{networks.name}.npz"
    fitted.parent.mkdir(parents=True, exist_ok=True)
    with atomic(fitted) as stream:
        stream.write(path.read_bytes())
    tables.show_channels(channels, path)


if __name__ == "__main__":
    main()
