"""Every shipped YAML composes and builds; mistakes are refused while composing or by one clear line."""

from __future__ import annotations

import copy
import logging
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from adfd.basics.errors import AdfdError
from adfd.config import build_analyze, build_edit, build_evaluate, build_shared, schema
from adfd.evaluation import bank

pytestmark = pytest.mark.thorough

schema.register()
READ = [name for name, made in vars(schema).items() if str(getattr(made, "_target_", "")).startswith("adfd.")]
GROUPS = (
    "method",
    "loss",
    "refine",
    "views",
    "search",
    "model",
    "data",
    "hardware",
    "logger",
    "ages",
    "experiment",
    "debug",
    "prepare",
    "channels",
    "animation",
)
OPTIONS = [
    (group, path.relative_to(schema.CONF / group).with_suffix("").as_posix())
    for group in GROUPS
    for path in sorted([*(schema.CONF / group).glob("*.yaml"), *(schema.CONF / group).glob("*/*.yaml")])
    if path.name != "wandb_sweep.yaml"  # W&B's own format; tests/test_dashboard.py reads it
]


def composed(*overrides: str, stage: str = "edit") -> DictConfig:
    with initialize_config_dir(str(schema.CONF), version_base="1.3"):
        return compose(stage, overrides=[*overrides])


def test_natural_faces_are_read_as_outputs_are() -> None:
    views = composed().views
    assert (views.flip, views.shift, list(views.zooms)) == (bank.WIDE.flip, bank.WIDE.shift, bank.WIDE.zooms)
    assert views.features == bank.FEATURES


def test_every_group_is_covered() -> None:
    folders = {path.name for path in schema.CONF.iterdir() if path.is_dir()}
    assert folders == {*GROUPS, "analysis", "paths", "hydra", "local"}
    assert len(OPTIONS) > 25


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_builds(group: str, option: str) -> None:
    photos = ["data.path=photos"]
    needed = {"folder": photos, "gpu": photos, "reference_mixing": ["method.references=photos"]}
    cfg = composed(f"{group}={option}", *(needed.get(option.split("/")[-1], []) if group != "hardware" else []))
    build_shared.plain(cfg)
    build_edit.check(cfg)
    assert build_edit.target_ages(cfg)
    n_outputs, method = build_edit.method(cfg)
    assert n_outputs >= 1
    assert callable(method)
    for node in (cfg.loss, cfg.refine, cfg.prepare, cfg.animation):
        build_shared.settings(node)


@pytest.mark.parametrize("stage", ["prepare", "analyze", "evaluate"])
def test_other_stages_compose(stage: str) -> None:
    needed = {"evaluate": ["runs=outputs", "folder.path=pictures"]}
    cfg = composed(*needed.get(stage, []), stage=stage)
    build_shared.plain(cfg)
    if stage == "analyze":
        assert callable(build_analyze.analysis(cfg))
    if stage == "evaluate":
        build_evaluate.check(cfg)
        for node in (cfg.bootstrap, cfg.folder, cfg.prepare):
            build_shared.settings(node)


@pytest.mark.parametrize("override", ["run=a", "table.colums=[]", "folder.sorces=a", "cyclic=perhaps", "batch_size=x"])
def test_typos_in_evaluate_fail_while_composing(override: str) -> None:
    with pytest.raises(HydraException):
        composed(override, stage="evaluate")


@pytest.mark.parametrize("name", ["correlation", "sensitivity", "intervention"])
def test_every_analysis_composes_and_builds(name: str) -> None:
    assert callable(build_analyze.analysis(composed(f"analysis={name}", stage="analyze")))
    with pytest.raises(HydraException):
        composed(f"analysis={name}", "analysis.n_smaples=3", stage="analyze")


def test_the_published_weights() -> None:
    for chosen, aging in (("loss=paper", 5), ("reference_compat=true", 5), ("loss=default", 0)):
        loss = build_shared.settings(composed(chosen).loss)
        assert (loss.aging, loss.id, loss.l2, loss.perceptual, loss.gender) == (aging, 0.1, 0.01, 0.01, 0)
    published = build_shared.settings(composed("refine=published").refine)
    assert (published.lr, published.max_steps, published.patience, published.min_delta) == (0.01, 10000, 7, 1e-4)


@pytest.mark.parametrize(
    "override",
    [
        "loss.agin=1",
        "refine.max_stepz=3",
        "method.n_output=3",
        "method.perturbation.size=2",
        "target_agee=3",
        "loss=papr",
        "loss.aging=much",
        "refine.max_steps=1.5",
        "method.n_outputs=few",
        "data.seeds=[a]",
        "seed=x",
        "prepare.steps=many",
        "method.psi=1",  # style_mixing's, not diversify's
    ],
)
def test_typos_and_wrong_types_fail_while_composing(override: str) -> None:
    with pytest.raises(HydraException):
        composed(override)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["target_age=120"], "target_age must lie in the age estimator's 0..80 years, got 120"),
        (["target_age=[70,-1]"], "got -1"),
        (["target_age=old"], "target_age must be a number of years or a list of them, got 'old'"),
        (["target_age=[]"], "target_age is an empty list"),
        (["method.anchor=old"], "method.anchor must be guided or transform, got old"),
        (["method.n_outputs=0"], "method.n_outputs must be at least 1, got 0"),
        (["loss.aging=-1"], "loss.aging must be a number of at least 0, got -1"),
        (["refine.lr=0"], "refine.lr must be positive"),
        (["prepare.steps=0"], "prepare.steps must be at least 1"),
        (["age_image=half"], "age_image must be pooled or full, got half"),
        (["photos_per_batch=0"], "photos_per_batch must be at least 1"),
        (["logger.mode=live"], "logger.mode must be one of online, offline, disabled, got live"),
        (["logger.every_n_steps=0"], "logger.every_n_steps"),
        (["data.kind=video"], "data.kind must be folder, faces or portrait"),
        (["data=folder"], "data.path has no value; set it with data.path=..."),
        (["method=guided", "search.kind=magic"], "search.kind must be one of"),
        (["method=reference_mixing"], "method.references has no value; set it with method.references=..."),
        (["method=reference_mixing", "method.references=.", "method.strength=2"], "method.strength must lie in 0..1"),
        (["prepare.align=perhaps"], "prepare.align must be auto, true or false, got perhaps"),
        (["animation=mp4"], "animation needs at least two target ages, target_age is 70; set target_age=[20,70]"),
        (["animation=mp4", "target_age=[2,3]", "animation.size=101"], "animation.size must be even and at least 64 px"),
        (["animation=gif", "target_age=[2,3]", "animation.fps=0"], "animation.fps must lie in 1..50"),
        (["animation.formats=[avi]"], "animation.formats must be of mp4, gif, got avi"),
    ],
)
def test_impossible_values_are_one_line_naming_the_key(overrides: list[str], message: str) -> None:
    with pytest.raises(AdfdError) as error:
        check_settings(composed(*overrides))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def check_settings(cfg: DictConfig) -> None:
    """All that the edit stage does before it reads weights."""
    build_shared.plain(cfg)
    build_edit.check(cfg)
    build_edit.target_ages(cfg)
    build_edit.method(cfg)
    build_shared.settings(cfg.prepare)
    build_edit.animation(cfg)


def test_impossible_values_are_refused_before_weights_are_read(
    run_stage: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(build_shared, "_networks", lambda *_: pytest.fail("weights were read"))
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit):
        run_stage("data=faces", "loss.aging=-1")  # type: ignore[operator]


def test_named_ages_yield_to_the_command_line() -> None:
    assert build_edit.target_ages(composed("ages=senior")) == [60, 70, 80]
    assert build_edit.target_ages(composed("ages=senior", "target_age=33")) == [33]


def test_conf_lies_in_the_checkout() -> None:
    assert (Path(schema.CONF) / "edit.yaml").is_file()


def test_reference_compat_restores_the_published_run_and_yields_to_the_command_line() -> None:
    def deviations(*overrides: str) -> tuple:
        cfg = composed("model=sam", *overrides)
        build_shared.plain(cfg)
        refine = build_shared.settings(cfg.refine)
        return (
            (cfg.age_image, cfg.model.start, cfg.method.anchor, cfg.method.perturbation.center, cfg.search.kind),
            (refine.keep, refine.lr, refine.max_steps, refine.patience, refine.min_delta),
        )

    ours = ("pooled", "checkpoint", "transform", True, "bracket"), ("last", 0.05, 1, 7, 1e-4)
    published = ("full", "checkpoint", "transform", False, "published"), ("last_moved", 0.01, 10000, 7, 1e-4)
    assert deviations() == ours
    assert deviations("reference_compat=true") == published
    assert deviations("reference_compat=true", "refine=published", "search=published") == published
    assert deviations("reference_compat=true", "refine.max_steps=5")[1][:3] == ("last_moved", 0.01, 5)
    assert deviations("reference_compat=true", "age_image=pooled")[0][0] == "pooled"
    for model in ("mobile", "stylegan2"):
        assert composed(f"model={model}", "reference_compat=true").method.anchor == "transform"
        assert composed(f"model={model}").method.anchor == "guided"
    mobile, compat = composed("model=mobile"), composed("model=mobile", "reference_compat=true")
    assert (mobile.channels.weights, mobile.model.path_rms) == ("sensitivity", 0.9)
    assert (compat.channels.weights, compat.model.path_rms) == ("paper", None)
    assert (mobile.method.perturbation.antithetic, compat.method.perturbation.antithetic) == (True, False)
    assert (mobile.method.perturbation.scale, compat.method.perturbation.scale) == (1.2, 1.0)
    assert (mobile.method.loss.aging, compat.method.loss.aging) == (0, 5)
    with pytest.raises(HydraException):
        composed("reference_compat=perhaps")


def test_only_the_published_run_draws_in_full_what_it_pools() -> None:
    assert composed("model=mobile").model.low_pass
    assert not composed("model=mobile", "reference_compat=true").model.low_pass
    assert not build_shared.networks(composed("model=tiny", "hardware=cpu", "model.low_pass=false")).low_pass


@pytest.mark.parametrize("stage", ["edit", "prepare", "analyze", "evaluate"])
@pytest.mark.parametrize("model", ["mobile", "tiny", "sam", "stylegan2"])
def test_every_model_composes_in_every_stage_with_keys_of_its_own(stage: str, model: str) -> None:
    cfg = composed(f"model={model}", stage=stage)
    assert build_shared.plain(cfg.model)["channels"] == (None if model in ("sam", "stylegan2") else cfg.model.channels)
    with pytest.raises(HydraException):
        composed(f"model={model}", "model.sma=PATH", stage=stage)
    if model != "sam":
        with pytest.raises(HydraException):
            composed(f"model={model}", "model.sam=PATH", stage=stage)


@pytest.mark.parametrize("name", READ)
def test_a_node_that_is_read_off_the_source_has_the_fields_of_its_class(name: str) -> None:
    made = getattr(schema, name)
    settings = get_class(made._target_)
    hints, typed = get_type_hints(settings), {field.name: field.type for field in fields(made)}
    assert list(typed) == ["_target_", *(field.name for field in fields(settings))]
    for field in fields(settings):
        kind = typed[field.name]
        target = getattr(kind, "_target_", None)
        assert (get_class(target) if target else kind) == hints[field.name]


def test_the_store_is_not_copied_but_what_is_loaded_from_it_is() -> None:
    store = ConfigStore.instance()
    assert copy.deepcopy(store).repo is store.repo
    first, second = (store.load("edit_schema.yaml").node for _ in range(2))
    first.seed = 1
    assert OmegaConf.is_missing(second, "seed")
