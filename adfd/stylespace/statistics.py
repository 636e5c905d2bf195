"""Statistics of a generator's style channels, computed by the analyses, and the channels file that stores them."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from scipy.stats import false_discovery_control
from torch import Tensor

from adfd.basics.arrays import read_arrays
from adfd.basics.errors import AdfdError
from adfd.stylespace import published
from adfd.stylespace.layout import StyleSpace, stylegan2
from adfd.stylespace.regions import REGIONS

PER_CHANNEL = (
    *("coef_age", "coef_id", "s_mean", "s_std", "r_age", "p_age", "p_id", "sensitivity_age", "sensitivity_id"),
    *("region_sensitivity", "slope_age", "slope_age_sd", "p_slope", "id_change", "p_id_change", "pixel_change"),
    *("perceptual_change", "region_change"),
)
"""Arrays of a channels file with one row per channel."""
SCHEMA_VERSION = 4
READABLE = (2, 3, 4)  # version 2 lacks the results of analysis=nature, version 3 the model of age from features
NAMES = ("generator", "age_features_of")
"""Entries of a channels file that are text."""


@dataclass(frozen=True)
class Channels:
    """Statistics of the C style channels of one generator; None where not measured.

    Stored as an `.npz` of plain arrays with the names below, without those that are None, and `schema_version`.
    """

    generator: str
    coef_age: Tensor | None = None
    """`[C]`, 0..1: |Pearson r| of a channel with the estimated age."""
    coef_id: Tensor | None = None
    """`[C]`, 0..1: |Pearson r| of a channel's absolute difference with the identity distance, over random pairs."""
    s_mean: Tensor | None = None
    """`[C]`: mean of the styles of random faces."""
    s_std: Tensor | None = None
    """`[C]`: their standard deviation, the unit "sd" below."""
    age_year: Tensor | None = None
    """`[512]`: the step in W that adds one year to the age a linear model reads from `w`."""
    age_r2: float | None = None
    """R2 of the linear model of age on held-out faces."""

    younger_year: Tensor | None = None
    """`[512]`: the step in W that adds one year, for target ages below a person's own; None: `age_year`."""
    older_year: Tensor | None = None
    """`[512]`: the step in W that adds one year, for target ages above a person's own; None: `age_year`."""
    gender_readout: Tensor | None = None
    """`[512]`: linear classifier of gender; `w @ gender_readout + gender_bias` is above 0 for female faces."""
    gender_bias: float | None = None
    gender_r: float | None = None
    """Correlation of that classifier's output with the gender judge's probability, on held-out faces."""
    natural_age: Tensor | None = None
    """`[B]`, years: mean age of the faces in each bracket of ages, ascending."""
    natural_spread: Tensor | None = None
    """`[B]`, years: 90 % of the faces in the bracket have a spread of the reading over the views of at most this."""
    age_features: Tensor | None = None
    """`[F]`: linear model of age; `features @ age_features + age_features_bias` is in years, for the `features` of a
    picture as `Networks` has them."""
    age_features_bias: float | None = None
    age_features_of: str | None = None
    """Name of the perceptual distance whose features these are."""
    age_features_r2: float | None = None
    """R2 of that model on held-out faces."""
    n_samples_nature: int | None = None
    """Faces of analysis=nature."""

    n_samples: int | None = None
    n_pairs: int | None = None
    n_permutations: int | None = None
    seed: int | None = None
    psi: float | None = None
    r_age: Tensor | None = None
    """`[C]`, -1..1: coef_age with its sign; positive where more of the channel looks older."""
    p_age: Tensor | None = None
    """`[C]`: share of the null correlations that are at least as large as coef_age."""
    p_id: Tensor | None = None
    """`[C]`: the same for coef_id."""
    null_age: Tensor | None = None
    """`[Q]`: quantiles, evenly spaced from 0 to 1, of coef_age where the ages of the faces are permuted."""
    null_id: Tensor | None = None
    """`[Q]`: the same for coef_id, with permuted identities."""
    stability_age: float | None = None
    """Rank correlation of the coef_age of two halves of the faces, over the convolution channels."""
    stability_id: float | None = None
    """The same for coef_id."""

    n_faces_sensitivity: int | None = None
    sensitivity_age: Tensor | None = None
    """`[C]`, years per sd: derivative of the estimated age, as the refinement computes it, mean over faces."""
    sensitivity_id: Tensor | None = None
    """`[C]`, per sd: length of the derivative of the identity embedding, root mean square over faces."""
    region_sensitivity: Tensor | None = None
    """`[C, R]`, per sd: root mean square derivative of the pixels of each region, over faces."""

    n_faces: int | None = None
    """Faces of the intervention. The arrays below are NaN for channels that it did not move."""
    k: float | None = None
    """Distance by which the intervention moved channels to either side, in sd."""
    slope_age: Tensor | None = None
    """`[C]`, years per sd: half the difference of the estimated ages at +k and -k sd, over k; mean over faces."""
    slope_age_sd: Tensor | None = None
    """`[C]`, years per sd: standard deviation of the slope over faces."""
    p_slope: Tensor | None = None
    """`[C]`: p-value of the slopes under the null hypothesis of no effect on age (t-test over faces)."""
    id_change: Tensor | None = None
    """`[C]`: 1 - identity similarity to the unchanged face, mean over faces and both sides."""
    p_id_change: Tensor | None = None
    """`[C]`: p-value of the changes under the null hypothesis of no effect on identity (one-sided t-test)."""
    pixel_change: Tensor | None = None
    """`[C]`, 0..2: mean absolute difference to the unchanged picture."""
    perceptual_change: Tensor | None = None
    """`[C]`: perceptual distance to the unchanged picture, in the stack's own metric."""
    region_change: Tensor | None = None
    """`[C, R]`, 0..2: mean absolute difference to the unchanged picture within each region."""

    layer_slope_age: Tensor | None = None
    """`[layers]`, years per sd: as slope_age, each layer moved along its channels' correlations with age."""
    layer_id_change: Tensor | None = None
    """`[layers]`: this and the next two are as id_change, perceptual_change and region_change."""
    layer_perceptual_change: Tensor | None = None
    """`[layers]`"""
    layer_region_change: Tensor | None = None
    """`[layers, R]`"""

    def save(self, path: Path | IO[bytes]) -> None:
        """Write the `.npz`."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays: dict[str, Any] = {key: np.asarray(value) for key, value in known.items() if value is not None}
        np.savez_compressed(path, schema_version=np.asarray(SCHEMA_VERSION), **arrays)

    @classmethod
    def load(cls, path: Path, generator: str) -> Channels:
        """Read an `.npz`, or the `.pkl` of the paper's code; a folder selects the file of this generator in it.

        Raises AdfdError where the file is missing, damaged, or of another version or generator.
        """
        remedy = "make one with: python -m adfd.analyze"
        if path.suffix == ".pkl":
            return _published(path, generator)
        path = file_of(path, generator)
        try:
            arrays = read_arrays(path)
        except FileNotFoundError:
            raise AdfdError(f"channels file {path} does not exist; {remedy}") from None
        except Exception as error:
            raise AdfdError(f"channels file {path} is not readable ({error}); {remedy}") from error
        version = arrays.pop("schema_version", None)
        if version not in READABLE or "generator" not in arrays or set(arrays) - {field.name for field in fields(cls)}:
            raise AdfdError(f"channels file {path} has schema {version}, this program reads {_and(READABLE)}; {remedy}")
        _check(arrays, path)
        values: dict[str, Any] = {
            key: torch.from_numpy(array) if array.ndim else array.item() for key, array in arrays.items()
        }
        if values["generator"] != generator:
            raise AdfdError(
                f"channels file {path} was made for generator {values['generator']}, not {generator}; {remedy}"
            )
        return cls(**values)

    def significant(self, statistic: str, fdr: float) -> Tensor:
        """Channels significant at a false discovery rate of `fdr` (Benjamini, Hochberg 1995); `[C]`, bool.

        `statistic` selects the p-values: age, id, slope or id_change; channels without a p-value are False. Raises
        AdfdError where the statistic was not measured.
        """
        p = getattr(self, f"p_{statistic}")
        if p is None:
            raise AdfdError(
                f"the channels of {self.generator} come without p_{statistic}; make them with: python -m adfd.analyze"
            )
        return adjusted(p) <= fdr

    def write_csv(self, path: Path, space: StyleSpace) -> None:
        """Write `columns` as CSV: one line per channel."""
        columns = {key: value for key, value in self.columns(space).items() if value is not None}
        text = io.StringIO(newline="")
        table = csv.writer(text)
        table.writerow(columns)
        table.writerows(zip(*columns.values(), strict=True))
        path.write_text(text.getvalue(), encoding="utf-8")

    def columns(self, space: StyleSpace) -> dict[str, list[Any] | None]:
        """The statistics as columns of length C, with each channel's layer and index; None where not measured."""

        def values(statistic: Tensor | None) -> list[Any] | None:
            if statistic is None:
                return None
            return ["" if math.isnan(value) else round(value, 8) for value in statistic.tolist()]

        places = [(layer, channel) for layer, width in enumerate(space.widths) for channel in range(width)]
        return {
            "c": list(range(space.n_channels)),
            "layer": [layer for layer, _ in places],
            "channel": [channel for _, channel in places],
            "name": [space.layers[layer].name for layer, _ in places],
            "resolution": [space.layers[layer].resolution for layer, _ in places],
            "to_rgb": [int(space.layers[layer].to_rgb) for layer, _ in places],
            **{
                field.name: values(value)
                for field in fields(self)
                if isinstance(value := getattr(self, field.name), Tensor) and value.shape == (space.n_channels,)
            },
            "q_age": None if self.p_age is None else values(adjusted(self.p_age)),
            "q_id": None if self.p_id is None else values(adjusted(self.p_id)),
            "region": self.main_regions(),
        }

    def main_regions(self) -> list[str] | None:
        """For each channel the region that it changes most, by the intervention or else by the sensitivity.

        "" for channels without either; None where neither was measured.
        """
        tables = [table for table in (self.region_sensitivity, self.region_change) if table is not None]
        if not tables:
            return None
        names = [""] * len(tables[0])
        for table in tables:
            for c in (table.sum(dim=1) > 0).nonzero()[:, 0].tolist():  # NaN is not above 0
                names[c] = REGIONS[int(table[c].argmax())]
        return names


def _and(versions: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, versions[:-1]))} and {versions[-1]}"


def adjusted(p: Tensor) -> Tensor:
    """P-values `[C]` adjusted for a threshold that is a false discovery rate (Benjamini, Hochberg); NaN stays NaN."""
    q, known = torch.full_like(p, math.nan), ~p.isnan()
    q[known] = torch.from_numpy(false_discovery_control(p[known].double().numpy())).to(p.dtype)
    return q


def _check(arrays: dict[str, Any], path: Path) -> None:
    """Raise AdfdError where an array of a channels file is not numeric, or its columns differ in length."""
    for key, array in arrays.items():
        if (array.dtype.kind == "U") != (key in NAMES) or (key in NAMES and array.ndim):
            raise AdfdError(f"channels file {path}: {key} is of another kind, got {array.dtype} of shape {array.shape}")
    lengths = {key: array.shape[:1] for key, array in arrays.items() if key in PER_CHANNEL}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise AdfdError(f"channels file {path} has columns of different lengths: {told:.300}")


def file_of(path: Path, generator: str) -> Path:
    """The channels file at `path`; where that is a folder or has no suffix, the file of this generator in it."""
    return path / f"{generator}.npz" if path.is_dir() or not path.suffix else path


def _published(path: Path, generator: str) -> Channels:
    """The published coefficients, 0 on the toRGB channels, which were not analysed."""
    space = stylegan2()
    table = published.read(path)
    index = torch.from_numpy(table["index"].astype(np.int64))
    if not torch.equal(index, space.conv_mask.nonzero()[:, 0]):
        raise AdfdError(f"channels file {path} does not list the {int(space.conv_mask.sum())} convolution channels")
    if generator != published.GENERATOR:
        raise AdfdError(
            f"channels file {path} was made for generator {published.GENERATOR}, not {generator}; "
            "use channels=shipped, or channels=fitted after: python -m adfd.analyze"
        )

    def spread(values: np.ndarray) -> Tensor:
        return torch.zeros(space.n_channels).index_copy(0, index, torch.from_numpy(values.astype(np.float32)))

    return Channels(generator, coef_age=spread(table["coef_age"]), coef_id=spread(table["coef_id"]))
