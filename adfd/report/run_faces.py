"""The faces of a run's page, grouped by photo and target age, with the facets by which they are filtered and sorted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from adfd.basics.files import Row
from adfd.evaluation.jobs import Job
from adfd.evaluation.quantities import QUANTITIES
from adfd.report.job_names import distinct
from adfd.report.run_view import FLAGS, UNKNOWN, Face, Group, Output, Picture, Reference, number


def finished(jobs: Sequence[Job]) -> list[Output]:
    """The finished outputs of all jobs, sorted by photo (in order of appearance), target age, job and output."""
    photos = dict.fromkeys(row["photo"] for job in jobs for row in job.rows)
    place = {photo: i for i, photo in enumerate(photos)}
    outputs = [Output(job, i, row) for i, job in enumerate(jobs) for row in job.rows if row["status"] == "ok"]
    return sorted(outputs, key=lambda o: (place[o.row["photo"]], o.row["target_age"], o.number, o.row["output"]))


def by_facet(names: Sequence[str], different: Mapping[str, list[str]], shown: Sequence[Output]) -> dict[str, list[str]]:
    """For each facet its value for every shown output; properties that all share are left out."""
    found = {key: [values[o.number] for o in shown] for key, values in different.items() if key != "target_age"}
    found["photo"] = [o.row["photo"] for o in shown]
    found["target age"] = [f"{o.row['target_age']:g}" for o in shown]
    found["job"] = [names[o.number] for o in shown]
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def groups(
    shown: Sequence[Output],
    names: Sequence[str],
    labels: Sequence[str],
    facets: Mapping[str, list[str]],
    pictures: Mapping[Path, Picture],
) -> list[Group]:
    """The faces grouped by photo and target age; each picture is embedded at its first use."""
    embedded: set[str] = set()

    def once(found: Picture) -> Picture:
        again = found.id in embedded
        embedded.add(found.id)
        return replace(found, again=again)

    choices = {key: distinct(values) for key, values in facets.items()}
    members: dict[tuple[str, float], list[int]] = {}
    for i, output in enumerate(shown):
        members.setdefault((output.row["photo"], output.row["target_age"]), []).append(i)
    return [
        Group(
            photo=photo,
            target_age=f"{age:g}",
            references=[
                replace(reference, picture=once(reference.picture))
                for reference in references([shown[i] for i in group], names, pictures)
            ],
            faces=[
                replace(
                    face(shown[i], names, labels, pictures),
                    picture=once(pictures[shown[i].image]),
                    facets=[choices[key].index(values[i]) for key, values in facets.items()],
                )
                for i in group
            ],
        )
        for (photo, age), group in members.items()
    ]


def references(outputs: Sequence[Output], names: Sequence[str], pictures: Mapping[Path, Picture]) -> list[Reference]:
    """The sources, then the anchors, of some outputs, without duplicates."""
    found = []
    for kind in ("source", "anchor"):
        whose: dict[str, list[Output]] = {}
        for output in outputs:
            whose.setdefault(pictures[getattr(output, kind)].id, []).append(output)
        for theirs in whose.values():
            jobs = list(dict.fromkeys(names[output.number] for output in theirs)) if len(whose) > 1 else []
            shown, age = pictures[getattr(theirs[0], kind)], theirs[0].row[f"{kind}_age"]
            panel = theirs[0].row.get(f"panel_age_{kind}")
            found.append(Reference(kind, shown, number(age, 1), "" if panel is None else number(panel, 1), jobs))
    return found


def flags(row: Row) -> list[str]:
    """The flags that apply to an output."""
    up = {
        "not-reached": row.get("reached") is False,
        "disagreement": bool(row.get("judges_disagree")),
        "doubtful": bool(row.get("anchor_doubtful")),
    }
    return [key for key in FLAGS if up[key]]


def face(output: Output, names: Sequence[str], labels: Sequence[str], pictures: Mapping[Path, Picture]) -> Face:
    """An output with its readings and properties, for the template."""
    row = {"age_error": abs(output.row["age"] - output.row["target_age"]), **output.row}
    values = {
        "age": row["age"],
        "age_error": row["age_error"],
        "id_similarity_source": row["id_similarity_source"],
        "id_similarity_anchor": row["id_similarity_anchor"],
    }
    measured = {QUANTITIES[key].title: number(row.get(key), QUANTITIES[key].digits) for key in QUANTITIES}
    other = {
        key.replace("_", " "): row.get(key) for key in ("reference", "steps", "alpha", "output_seed", "image", "pasted")
    }
    return Face(
        job=names[output.number],
        number=output.number,
        label=labels[output.number],
        method=row["method"],
        output=row["output"],
        picture=pictures[output.image],
        source=pictures[output.source].id,
        anchor=pictures[output.anchor].id,
        readings={key: number(value, 1 if key.startswith("age") else 2) for key, value in values.items()},
        sort_values={key: "" if value is None else repr(float(value)) for key, value in values.items()},
        independent="" if row.get("panel_age") is None else number(row["panel_age"], 1),
        flags=flags(row),
        details={key: text for key, text in measured.items() if text != UNKNOWN}
        | {key: str(value) for key, value in other.items() if value is not None},
        facets=[],
    )
