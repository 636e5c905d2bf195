from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from sweeps import done, finish, kill_job, rows, run, start, statuses

from tests.cluster.conftest import JOB, SWEEP, until

pytestmark = pytest.mark.cluster
ARRAY = ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1")


def ask(environment: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def test_an_array_with_jobs_requeued_killed_and_cancelled_is_resumed(slurm: dict[str, str], tmp_path: Path) -> None:
    plain, sweep = tmp_path / "plain", tmp_path / "array"
    process = start(sweep, slurm, *SWEEP, *ARRAY, "hydra.launcher.array_parallelism=2")
    until(lambda: done(sweep, "0") >= 6, 120, "six rows of the first job")
    number = ask(slurm, "squeue", "-h", "--array", "-o", "%F").split()[0]
    ask(slurm, "scontrol", "requeue", f"{number}_0")
    ask(slurm, "scancel", f"{number}_3")  # which has not begun
    until(lambda: done(sweep, "1") >= 6, 120, "six rows of the second job")
    kill_job(sweep / "1")
    code, out, err = finish(process)
    assert code == 1
    assert "sacct" not in out + err
    assert "Traceback" not in out + err
    assert statuses(sweep) == {"0": "finished", "1": "lost", "2": "finished"}
    assert "job 0 finished: 24 outputs, harmonic " in out
    assert "job 1 lost: it ended without a summary, as a killed job does; see " in err
    assert "never began: loss.aging=4 " in err
    log = (sweep / "0" / "edit.log").read_text()
    assert "job 0: goes on, " in log

    run(sweep, slurm, *SWEEP, *ARRAY, "sweep.resume=true")
    run(plain, slurm, *SWEEP)
    assert len(rows(plain)) == 4
    assert {len(job) for job in rows(plain).values()} == {24}
    assert rows(sweep) == rows(plain)


def test_a_job_longer_than_its_time_limit_goes_on_after_each(slurm: dict[str, str], tmp_path: Path) -> None:
    plain, sweep = tmp_path / "plain", tmp_path / "limited"
    job = (*JOB, "refine.max_steps=150", "loss.aging=1")
    limit = ("hydra.launcher.timeout_min=1", "hydra.launcher.max_num_timeout=20", "hydra.launcher.signal_delay_s=15")
    out = run(sweep, slurm, *job, *ARRAY, *limit)
    lines = [line for line in out.splitlines() if line.startswith("job 0 ")]
    assert len(lines) > 1
    assert all(line.startswith("job 0 interrupted: ") for line in lines[:-1])
    assert lines[-1].startswith("job 0 finished: 24 outputs")
    assert "goes on, " in (sweep / "0" / "edit.log").read_text()
    run(plain, slurm, *job)
    assert rows(sweep) == rows(plain)


def test_a_job_that_makes_room_for_another_goes_on_afterwards(slurm: dict[str, str], tmp_path: Path) -> None:
    """Pre-emption, as in partitions for whoever is not in a hurry; the sweep's folder is given relatively."""
    plain, sweep = tmp_path / "plain", tmp_path / "relative"
    job = (*JOB, "refine.max_steps=100", "loss.aging=1")
    process = start(Path("relative"), slurm, *job, *ARRAY, "hydra.launcher.partition=here", cwd=tmp_path)
    until(lambda: done(sweep, "0") >= 6, 120, "six rows of the job")
    ask(slurm, "sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 5")
    code, out, err = finish(process)
    assert code == 0, out + err
    log = (sweep / "0" / "edit.log").read_text()
    assert "job 0: goes on, " in log
    assert "Traceback" not in log + out + err
    run(plain, slurm, *job)
    assert rows(sweep) == rows(plain)
