"""Keys that nothing reads, and keys taken away: refused in one line, unless something reads them after all."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from adfd.basics.errors import AdfdError
from adfd.config import schema
from adfd.config.command_line import check_keys, in_a_line
from tests.config.test_schema import OPTIONS, composed

schema.register()
OWN = ("++method._target_=mine.methods.sharpen",)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "~target_age",
            "target_age was taken away by ~target_age, and nothing works without it; leave ~target_age out",
        ),
        ("+foo=1", "nothing reads foo; the nearest key is "),
        ("+target_ages=[3]", "nothing reads target_ages; the nearest key is target_age, and --help lists them all"),
        ("+loss.agin=1", "nothing reads loss.agin; the nearest key is loss.aging,"),
        ("+refine.stop.early=true", "nothing reads refine.stop; the nearest key is "),
        ("+method.n_output=1", "nothing reads method.n_output; the nearest key is method.n_outputs,"),
        ("+model.chanels=1", "nothing reads model.chanels; the nearest key is model.channels,"),
    ],
)
def test_what_nothing_reads_is_refused_with_the_nearest_key(override: str, message: str) -> None:
    with pytest.raises(AdfdError) as error:
        check_keys(composed(override))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["+method.strength=3", *OWN],  # a method of the user's own takes what it likes
        ["+model.depth=3", "++model._target_=mine.stack.load"],
        ["+mine=3", "n_outputs=${mine}"],
        ["+mine.strength=3", "loss.aging=${mine.strength}"],
        ["+hardware.plugins=[]"],  # Lightning's
    ],
)
def test_what_somebody_reads_is_left_alone(overrides: list[str]) -> None:
    check_keys(composed(*overrides))


@pytest.mark.parametrize(("group", "option"), OPTIONS[::3])
def test_every_shipped_option_has_only_keys_that_are_read(group: str, option: str) -> None:
    check_keys(composed(f"{group}={option}"))


@pytest.mark.parametrize("stage", ["prepare", "analyze", "evaluate", "export"])
def test_every_stage_has_only_keys_that_are_read(stage: str) -> None:
    check_keys(composed(stage=stage))
    with pytest.raises(AdfdError, match="nothing reads"):
        check_keys(composed("+foo=1", stage=stage))


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["target_agee=3"], "nothing reads target_agee; the nearest key is target_age, and --help lists them all"),
        (["method=guided", "search.knd=1"], "nothing reads search.knd; the nearest key is search.kind,"),
        (["~loss.aging"], "loss.aging was taken away by ~loss.aging, and nothing works without it; leave ~loss.aging"),
        (["~nothing"], "nothing reads nothing; the nearest key is "),
        (["seed=x"], "Error merging override seed=x (Value 'x' of type 'str' could not be converted to Integer)"),
        (["loss=papr"], "In 'edit': Could not find 'loss/papr' Available options in 'loss': age_heavy"),
        (["+target_age=3"], "Could not append to config. An item is already at 'target_age'."),
        (["target_age=[1"], "no viable alternative at input '[1'"),
    ],
)
def test_what_does_not_compose_is_one_line(overrides: list[str], line: str) -> None:
    with pytest.raises(HydraException) as error, initialize_config_dir(str(schema.CONF), version_base="1.3"):
        compose("edit", overrides)
    told = in_a_line(error.value, "edit", overrides)
    assert told.startswith(line), told
    assert "\n" not in told
