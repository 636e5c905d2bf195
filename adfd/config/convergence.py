"""Hydra callback for a multirun of the analysis: convergence of its statistics with the number that was varied.

Writes `convergence.csv`, `convergence.svg` and `convergence.png` to the sweep's directory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from adfd.config.sweep import read_jobs
from adfd.runs import console


class Convergence(Callback):
    """Compares the jobs of a sweep, after each job, since the sweep may be interrupted."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if config.hydra.mode == RunMode.MULTIRUN:
            from adfd.report import convergence

            directory = Path(config.hydra.sweep.dir)
            if points := convergence.compare(directory, read_jobs(directory)):
                convergence.write_csv(directory / "convergence.csv", points)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from adfd.report import convergence
        from adfd.report.channel_figures import save

        directory = Path(config.hydra.sweep.dir)
        if points := convergence.compare(directory, read_jobs(directory)):
            convergence.write_csv(directory / "convergence.csv", points)
            save(directory / "convergence", convergence.draw(points))
            convergence.show(points)
            console.show_path("table", directory / "convergence.csv")
            console.show_path("plot", directory / "convergence.svg")
