"""What sets the jobs of a sweep apart: their names, and the overrides in which they differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

from adfd.evaluation.jobs import Job

DEFAULT = "default"  # stands for an override that a job does not have, where its configuration holds no plain value


def unique_names(jobs: Sequence[Job]) -> list[str]:
    """A name of each job: its directory's, with the parent's where that is not enough."""
    count = Counter(job.name for job in jobs)
    return [job.name if count[job.name] == 1 else f"{job.directory.parent.name}/{job.name}" for job in jobs]


def differing(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """By key of the overrides in which the jobs differ: its value in each of them. The method comes first."""
    given = [dict(map(parted, job.overrides)) for job in jobs]
    found = {"method": [job.method for job in jobs]}
    for key in dict.fromkeys(key for overrides in given for key in overrides if key != "method"):
        found[key] = [mine.get(key, configured(job.config, key)) for mine, job in zip(given, jobs, strict=True)]
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def shortened(keys: Iterable[str]) -> dict[str, str]:
    """By key, its last part, where that is not the last part of another one too."""
    last = {key: key.rpartition(".")[2] for key in keys}
    count = Counter(last.values())
    return {key: part if count[part] == 1 else key for key, part in last.items()}


def parted(override: str) -> tuple[str, str]:
    """Key and value of an override, without the plus signs that add a key."""
    key, equals, value = override.lstrip("+").partition("=")
    return key, value if equals else "removed"


def configured(config: dict[str, Any], key: str) -> str:
    """What a job's configuration holds where another one has an override."""
    value = reduce(lambda node, part: node.get(part, {}) if isinstance(node, dict) else {}, key.split("."), config)
    if isinstance(value, dict):
        return DEFAULT
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def distinct(values: Iterable[str]) -> list[str]:
    """Each value once: numbers by size, anything else as it first comes."""
    values = list(dict.fromkeys(values))
    try:
        return sorted(values, key=float)
    except ValueError:
        return values
