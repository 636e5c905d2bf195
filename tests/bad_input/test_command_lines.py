"""Command lines and YAML that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

Adfd = Callable[..., tuple[int, str]]
FACES = ("data=faces", "data.seeds=[1]", "method=transform", "logger=none")

LINES: list[tuple[str, str]] = [
    # keys taken away, and keys that there are none of
    ("~target_age", "target_age was taken away by ~target_age"),
    ("~seed", "seed was taken away by ~seed"),
    ("~age_image", "age_image was taken away"),
    ("~prepare.align", "prepare.align was taken away"),
    ("~loss.aging", "loss.aging was taken away"),
    ("~data.seeds", "data.seeds was taken away"),
    ("~logger.mode", "logger.mode was taken away"),
    ("~method", "method has no value; set it with method=..."),
    ("~model", "model has no value"),
    ("~nothing", "nothing reads nothing; the nearest key is"),
    ("~seed=7", "Could not delete from config. The value of 'seed' is 0 and not 7."),
    ("+foo=1", "nothing reads foo; the nearest key is"),
    ("+foo.bar=1", "nothing reads foo; the nearest key is"),
    ("+target_ages=[1]", "nothing reads target_ages; the nearest key is target_age,"),
    ("+loss.agin=1", "nothing reads loss.agin; the nearest key is loss.aging,"),
    ("+prepare.sice=1", "nothing reads prepare.sice; the nearest key is prepare.size,"),
    ("+model.chanels=1", "nothing reads model.chanels; the nearest key is model.channels,"),
    ("+data.sedes=[1]", "nothing reads data.sedes; the nearest key is data.seeds,"),
    ("target_agee=3", "nothing reads target_agee; the nearest key is target_age,"),
    ("n_output=3", "nothing reads n_output; the nearest key is n_outputs,"),
    ("loss.agin=1", "nothing reads loss.agin; the nearest key is loss.aging,"),
    ("refine.max_stepz=3", "nothing reads refine.max_stepz; the nearest key is refine.max_steps,"),
    ("method.psi=1", "nothing reads method.psi; the nearest key is"),
    ("+target_age=3", "Could not append to config. An item is already at 'target_age'."),
    # groups
    ("loss=papr", "Could not find 'loss/papr' Available options in 'loss':"),
    ("method=magic", "Could not find 'method/magic'"),
    ("data=../../etc/passwd", "Could not find"),
    ("hardware=tpu", "Could not find 'hardware/tpu'"),
    ("experiment=none", "Could not find 'experiment/none'"),
    ("ages=elder", "Could not find 'ages/elder'"),
    ("mehtod=guided", "nothing reads mehtod; the nearest key is method"),
    # grammar
    ("target_age=[1", "no viable alternative at input '[1'"),
    ("target_age={a", "no viable alternative"),
    ("target_age=1,2", "sweep"),
    ("=3", "Config group override must be a string or a list. Got int"),
    ("target_age='1", "'"),
    ("target_age=${seed", "mismatched input '{' expecting <EOF>"),
    ("target_age=${nowhere}", "target_age has no value"),
    ("target_age=${oc.env:ADFD_NOT_SET}", "target_age has no value"),
    ("seed=${seed}", "seed has no value"),
    # types
    ("seed=x", "Value 'x' of type 'str' could not be converted to Integer"),
    ("seed=1.5", "could not be converted to Integer"),
    ("seed=null", "seed"),
    ("data.seeds=[a]", "could not be converted to Integer"),
    ("data.seeds=3", "data.seeds"),
    ("data.recursive=perhaps", "is not a valid bool"),
    ("loss.aging=much", "could not be converted to Float"),
    ("refine.max_steps=1.5", "could not be converted to Integer"),
    ("logger.csv=perhaps", "is not a valid bool"),
    ("prepare=3", "Config group override must be a string or a list. Got int"),
    ("loss=[1]", "int"),
    # values
    ("target_age=old", "target_age must be a number of years or a list of them, got 'old'"),
    ("target_age=120", "target_age must lie in the age estimator's 0..80 years, got 120"),
    ("target_age=-1", "target_age must lie in the age estimator's 0..80 years, got -1"),
    ("target_age=nan", "target_age must lie in the age estimator's 0..80 years, got nan"),
    ("target_age=inf", "target_age must lie in the age estimator's 0..80 years, got inf"),
    ("target_age=true", "target_age must be a number of years or a list of them, got True"),
    ("target_age=null", "target_age must be a number of years or a list of them, got None"),
    ("target_age=[]", "target_age is an empty list; give at least one age"),
    ("target_age=[[1]]", "target_age must be a number of years or a list of them, got [1]"),
    ("target_age={a:1}", "target_age must be a number of years"),
    ("data.seeds=[]", "data.seeds is empty; give at least one seed"),
    ("data.seeds=[-1]", "data.seeds must lie in 0..4294967295, got -1"),
    ("data.seeds=[99999999999]", "data.seeds must lie in 0..4294967295, got 99999999999"),
    ("data.kind=video", "data.kind must be folder, faces or portrait, got video"),
    ("data=folder", "data.path has no value; set it with data.path=..."),
    ("n_outputs=0 method=diversify", "method.n_outputs must be at least 1, got 0"),
    ("loss.aging=-1 method=diversify", "loss.aging must be a number of at least 0, got -1"),
    ("loss.aging=nan method=diversify", "loss.aging must be a number of at least 0, got nan"),
    ("refine.lr=0 method=diversify", "refine.lr must be positive"),
    ("refine.max_steps=-1 method=diversify", "refine.max_steps"),
    ("refine.keep=worst method=diversify", "refine.keep must be"),
    ("method.perturbation.mask=half method=diversify", "mask must be"),
    ("channels.weights=none method=diversify", "channels.weights must be"),
    ("channels.regions=[ear] method=diversify", "ear"),
    ("channels.top_k=0 method=diversify channels.weights=top_k", "channels.top_k"),
    ("accept.rms=-1 method=diversify", "accept.rms"),
    ("search.kind=magic method=guided", "search.kind must be one of"),
    ("path.n_samples=0 method=guided", "path.n_samples"),
    ("realign.tolerance=-1 method=style_mixing", "realign.tolerance"),
    ("method.psi=nan method=style_mixing", "psi"),
    ("method=reference_mixing", "method.references has no value"),
    ("method=reference_mixing method.references=nowhere", "photo path nowhere does not exist"),
    ("method=reference_mixing method.references=. method.strength=2", "method.strength must lie in 0..1"),
    ("views.n=0", "views"),
    ("prepare.steps=0", "prepare.steps must be at least 1, got 0"),
    ("prepare.size=8", "prepare.size must be at least 256, got 8"),
    ("prepare.lr=inf", "prepare.lr must be a finite number greater than 0, got inf"),
    ("prepare.align=perhaps", "prepare.align must be auto, true or false, got perhaps"),
    ("prepare.faces=two", "prepare.faces must be largest or all, got two"),
    ("age_image=half", "age_image must be pooled or full, got half"),
    ("photos_per_batch=0", "photos_per_batch must be at least 1, got 0"),
    ("render_batch_size=-3", "render_batch_size must be at least 1, got -3"),
    ("logger.every_n_steps=0", "logger.every_n_steps must be at least 1, got 0"),
    ("logger.mode=live", "logger.mode must be one of online, offline, disabled, got live"),
    ("animation=mp4", "animation needs at least two target ages, target_age is 70; set target_age=[20,70]"),
    ("animation=mp4 target_age=[2,3] animation.size=101", "animation.size must be even and at least 64 px"),
    ("animation=gif target_age=[2,3] animation.fps=0", "animation.fps must lie in 1..50"),
    ("animation.formats=[avi]", "animation.formats must be of mp4, gif, got avi"),
    ("hardware.accelerator=abacus", "hardware cannot be used here"),
    ("hardware.precision=8-bits", "hardware cannot be used here"),
    ("hardware.devices=0", "hardware cannot be used here"),
    ("model.channels=nowhere.npz", "channels file nowhere.npz does not exist; make one with: python -m adfd.analyze"),
    ("channels=fitted", "tiny-0.npz does not exist; make one with: python -m adfd.analyze"),
    ("model.age_range=[1]", "model.age_range must be the youngest and the oldest age, got [1.0]"),
    ("data.psi=nan", "data.psi must be a finite number, got nan"),
    ("hydra.run.dir=/proc/nowhere/run", "/proc/nowhere"),
    ("hydra.run.dir=/dev/null/run", "Not a directory"),
]
OTHERS: list[tuple[str, str, str]] = [
    ("evaluate", "", "runs has no value; set it with runs=PATH, or runs=[PATH,PATH]"),
    ("evaluate", "runs=nowhere", "runs: nowhere does not exist"),
    ("evaluate", "runs=README.md", "runs: README.md is no directory"),
    ("evaluate", "runs=conf", "runs: conf holds no run directory"),
    ("evaluate", "runs=[conf,nowhere]", "runs: conf holds no run directory"),
    ("evaluate", "run=a", "nothing reads run; the nearest key is runs,"),
    ("evaluate", "source=web runs=conf", "source must be runs or folder, got web"),
    ("evaluate", "judges=me runs=conf", "judges must be run or model, got me"),
    ("evaluate", "batch_size=0 runs=conf", "batch_size must be at least 1, got 0"),
    ("evaluate", "source=folder", "folder.path has no value"),
    ("evaluate", "source=folder folder.path=nowhere", "photo path nowhere does not exist"),
    ("evaluate", "source=folder folder.path=conf", "conf holds no photo"),
    ("evaluate", "source=folder folder.path=conf folder.pattern='('", "folder.pattern is no regular expression"),
    ("evaluate", "source=folder folder.path=conf folder.pattern=a", "folder.pattern needs a group (?P<age>...)"),
    ("evaluate", "runs=conf figures.trade_offs=[1]", "figures.trade_offs must be a list of pairs [x, y], got 1"),
    ("evaluate", "runs=conf table.columns=[beauty]", "table.columns must name quantities of"),
    ("evaluate", "runs=conf bootstrap.confidence=2", "bootstrap.confidence"),
    ("evaluate", "runs=conf bootstrap.n_resamples=0", "bootstrap.n_resamples"),
    ("evaluate", "+foo=1 runs=conf", "nothing reads foo"),
    ("evaluate", "~runs", "runs was taken away by ~runs"),
    ("analyze", "analysis.n_samples=0", "analysis.n_samples"),
    ("analyze", "analysis=guess", "Could not find 'analysis/guess'"),
    ("analyze", "analysis.n_smaples=3", "nothing reads analysis.n_smaples; the nearest key is analysis.n_samples,"),
    ("analyze", "compare=nowhere.npz", "channels file nowhere.npz does not exist"),
    ("analyze", "gallery.rows=-1", "gallery.rows"),
    ("analyze", "~fdr", "fdr was taken away"),
    ("prepare", "data=folder data.path=nowhere", "photo path nowhere does not exist"),
    ("prepare", "data=folder data.path=conf", "conf holds no photo (left out: "),
    (
        "prepare",
        "data=folder data.path=conf data.recursive=true",
        "with names of no photo",
    ),
    ("prepare", "data=folder data.path=README.md", "README.md is no photo; photos end in .jpg"),
    ("prepare", "data=folder", "data.path has no value"),
    ("prepare", "prepare.batch_size=0", "prepare.batch_size must be at least 1, got 0"),
    ("prepare", "target_age=3", "nothing reads target_age; the nearest key is"),
    ("export", "tolerance=x", "could not be converted to Float"),
    ("export", "formt=onnx", "nothing reads formt; the nearest key is"),
    (
        "dashboard",
        "--entity a --sweep nowhere --dry-run",
        "nowhere has no file sweep_id; give the directory",
    ),
]
YAMLS: list[tuple[str, str]] = [
    ("a: [", "while parsing a flow node expected the node content"),
    ("\tseed: 3", "\\t"),
    ("seed: 3\nseed: 4", "duplicate key seed"),
    ("sede: 3", "In 'experiment/bad': nothing reads sede; the nearest key is"),
    ("loss: {agin: 3}", "In 'experiment/bad': nothing reads agin; the nearest key is loss.aging,"),
    ("seed: many", "could not be converted to Integer"),
    ("defaults: [{override /loss: papr}]", "papr"),
    ("defaults: 5", "defaults"),
    ("- 1\n- 2", "Cannot merge DictConfig with ListConfig"),
    ("just a text", "text"),
    ("target_age: ${nowhere}", "target_age has no value"),
    ("target_age: ${target_age}", "target_age has no value"),
    ("target_age: ${", "${"),
    ("loss: null", "loss"),
    ("loss: 5", "int is not a subclass of LossWeightsNode"),
    ("data: []", "list is not a subclass of DataNode"),
    ("method: {_target_: nowhere.at.all}", "nowhere.at.all is nothing that can be loaded ("),
    ("model: {_target_: nowhere.at.all}", "model._target_ nowhere.at.all is nothing that can be loaded"),
    ("a: &a [*a]", "a"),
    ("seed: !!python/object/apply:os.system ['touch executed']", "python/object"),
    ("\x00", "special characters are not allowed"),
]


@pytest.mark.parametrize(("arguments", "line"), LINES, ids=[arguments for arguments, _ in LINES])
def test_editing(adfd: Adfd, arguments: str, line: str) -> None:
    code, told = adfd(*FACES, *arguments.split())
    assert (code, line in told) == (1, True), told


@pytest.mark.parametrize(("stage", "arguments", "line"), OTHERS, ids=[f"{stage} {words}" for stage, words, _ in OTHERS])
def test_other_stages(adfd: Adfd, stage: str, arguments: str, line: str) -> None:
    code, told = adfd(*arguments.split(), stage=stage)
    assert (code, line in told) == (1, True), told


@pytest.mark.parametrize(("text", "line"), YAMLS, ids=[repr(text) for text, _ in YAMLS])
def test_yaml(adfd: Adfd, tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "bad.yaml").write_text(f"# @package _global_\n{text}\n")
    code, told = adfd(*FACES, "experiment=bad", options=[f"--config-dir={tmp_path}/mine"])
    assert (code, line in told) == (1, True), told
    assert not Path("executed").exists()


@pytest.mark.parametrize("content", [b"seed: \xff\xfe", b"\xff\xfes\x00e\x00e\x00d\x00:\x00 \x00x\x00"])
def test_yaml_in_other_encodings(adfd: Adfd, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "bad.yaml").write_bytes(content)
    code, told = adfd(*FACES, "experiment=bad", options=[f"--config-dir={tmp_path}/mine"])
    assert code == 1, told


@pytest.mark.parametrize(("word", "code"), [("evalute", 2), ("photo.jpg", 2), ("", 2)])
def test_no_command(adfd: Adfd, word: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from adfd import commands

    monkeypatch.setattr("sys.argv", ["adfd", word])
    assert commands.main() == code
