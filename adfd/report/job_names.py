"""Names of the jobs of a sweep, and the overrides in which they differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

from adfd.evaluation.jobs import Job

DEFAULT = "default"  # shown for a key that a job does not override and whose configured value is a node


def unique_names(jobs: Sequence[Job]) -> list[str]:
    """A unique name for each job: that of its directory, preceded by its parent's where needed."""
    count = Counter(job.name for job in jobs)
    return [job.name if count[job.name] == 1 else f"{job.directory.parent.name}/{job.name}" for job in jobs]


def differing(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """The overrides in which the jobs differ: for each key its value in every job. The method comes first."""
    given = [dict(map(parted, job.overrides)) for job in jobs]
    found = {"method": [job.method for job in jobs]}
    for key in dict.fromkeys(key for overrides in given for key in overrides if key != "method"):
        found[key] = [mine.get(key, configured(job.config, key)) for mine, job in zip(given, jobs, strict=True)]
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def shortened(keys: Iterable[str]) -> dict[str, str]:
    """Short forms of keys: the last part of a key, or the whole key where several have the same last part."""
    last = {key: key.rpartition(".")[2] for key in keys}
    count = Counter(last.values())
    return {key: part if count[part] == 1 else key for key, part in last.items()}


def parted(override: str) -> tuple[str, str]:
    """Key and value of an override, without plus signs; the value is "removed" for an override that deletes a key."""
    key, equals, value = override.lstrip("+").partition("=")
    return key, value if equals else "removed"


def configured(config: dict[str, Any], key: str) -> str:
    """The configured value of a key that a job does not override."""
    value = reduce(lambda node, part: node.get(part, {}) if isinstance(node, dict) else {}, key.split("."), config)
    if isinstance(value, dict):
        return DEFAULT
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def distinct(values: Iterable[str]) -> list[str]:
    """The distinct values: numbers sorted, others in the order of their first appearance."""
    values = list(dict.fromkeys(values))
    try:
        return sorted(values, key=float)
    except ValueError:
        return values
