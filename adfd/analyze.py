"""Stage "analyze": generator -> channel statistics. `python -m adfd.analyze --help` lists what can be set."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from tqdm.contrib.logging import logging_redirect_tqdm

from adfd.basics import progress
from adfd.basics.files import atomic
from adfd.config import build_analyze, build_shared, build_trackers, command_line, schema
from adfd.runs import console, stage
from adfd.runs.outcome import outcome

if TYPE_CHECKING:
    from adfd.models.networks import Networks
    from adfd.stylespace.statistics import Channels

schema.register()
log = logging.getLogger(__name__)


@command_line.entry("analyze")
@hydra.main(version_base="1.3", config_path=str(schema.CONF), config_name="analyze")
def main(cfg: DictConfig) -> None:
    stage.run(command_line.checked(analyze), cfg)


def analyze(cfg: DictConfig) -> None:
    """Measure the channels of a generator and show the results; a restarted analysis measures only missing shards.

    Writes `channels.npz`, and its content as a table, figures, a gallery, an animation, and `channels.html` with all of
    them. A copy of `channels.npz` in `paths.channels_dir`, named by the generator, is the one that `channels=fitted`
    selects.
    """
    from adfd.report import channel_figures, channel_gallery, channel_page

    run = Path(HydraConfig.get().runtime.output_dir)
    with outcome(run) as told:
        analysis = build_analyze.analysis(cfg)
        gallery, animation = build_shared.settings(cfg.gallery), build_shared.settings(cfg.animation)
        networks = build_shared.networks(cfg, without=[] if analysis.extends else ["channels"])
        other = build_analyze.compared(cfg, networks.name)
        told.trackers = build_trackers.trackers(cfg, run, "analysis", networks)
        channels = measure(cfg, analysis, networks)
        save(channels, run / "channels.npz")
        for tracker in told.trackers:
            tracker.channels(networks.name, run / "channels.npz", made=True)
        channels.write_csv(run / "channels.csv", networks.space)
        save(channels, Path(cfg.paths.channels_dir) / f"{networks.name}.npz")
        told.summary = channel_page.key_numbers(channels, cfg.fdr, other)
        told.rows = channel_page.top_channels(channels, networks.space)
        figures = channel_figures.write(run / "figures", channel_figures.draw(channels, networks.space, cfg.fdr, other))
        pictures = channel_gallery.make(networks, channels, cfg.seed, gallery, animation, run)
        channel_page.write(run / "channels.html", channels, networks.space, cfg.fdr, figures, pictures, other)
        channel_page.tell(told.trackers, told.summary, figures, pictures, run)
    console.show_channels(channels, networks.space, cfg.fdr, run / "channels.npz")
    console.show_path("page", run / "channels.html")


def measure(cfg: DictConfig, analysis: Any, networks: Networks) -> Channels:
    """Run the analysis with a progress bar."""
    announce(analysis, networks, cfg.seed)
    bar = progress.bar(total=analysis.n_units(networks), desc=analysis.verb, unit=analysis.unit)
    with bar, logging_redirect_tqdm():
        channels = analysis(networks, cfg.seed, build_analyze.shards(cfg, on_unit=bar.update))
    return channels


def announce(analysis: Any, networks: Networks, seed: int) -> None:
    """Log the expected duration, estimated from one unit of work."""
    n_units, started = analysis.n_units(networks), time.perf_counter()
    analysis.rehearse(networks, seed)
    each = time.perf_counter() - started
    log.info("%s %d %ss, %.2f s each: %.0f min", analysis.verb, n_units, analysis.unit, each, n_units * each / 60)


def save(channels: Channels, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as stream:
        channels.save(stream)


if __name__ == "__main__":
    main()
