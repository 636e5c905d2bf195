"""What every stage does around its job: errors in one line, a clean Ctrl-C, sweeps that outlive a failed job."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Callable

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from adfd.errors import AdfdError

log = logging.getLogger(__name__)

INTERRUPTED = 130  # the shell's exit code for Ctrl-C


def run(job: Callable[[DictConfig], None], cfg: DictConfig) -> None:
    """Do a stage's job. A user's mistake ends it with its one line; Ctrl-C and SIGTERM with exit code 130.

    In a multirun a failed job is left to the sweep's summary, and the next one starts.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    warnings.filterwarnings("ignore", module="lightning")
    try:
        job(cfg)
    except KeyboardInterrupt:
        log.warning("interrupted; what was finished is in %s", HydraConfig.get().runtime.output_dir)
        sys.exit(INTERRUPTED)
    except (AdfdError, OSError) as error:  # what the user can mend: OSErrors name the file and what is wrong with it
        if HydraConfig.get().mode == RunMode.RUN:
            raise CompactHydraException(f"error: {error}") from error
        log.error("%s", error)
    except Exception:
        if HydraConfig.get().mode == RunMode.RUN:
            raise
        log.exception("the job failed")
