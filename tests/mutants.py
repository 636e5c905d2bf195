"""Do the tests bite? Break the source in known places, one at a time, and see which tests notice.

`make mutants` copies the checkout, applies each of `MUTANTS` to the copy and runs the tests that are to notice it. A
mutant that all of them pass has survived. Exit code: 1 where more than one in twenty survives; 2 where a mutant cannot
be judged: its text no longer stands in the source exactly once, or its tests fail without it.
`python -m tests.mutants --markdown` prints the table of docs/mutants.md; words after the options choose mutants.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

CHECKOUT = Path(__file__).parents[1]
COPIED = ("adfd", "conf", "docs", "experiments", "tests", "pyproject.toml")
AT_ONCE = 2
ALLOWED = 1 / 20
"""Share of mutants that may survive."""


@dataclass(frozen=True)
class Mutant:
    """A mistake: `old`, which stands in `adfd/` exactly once, becomes `new`."""

    mistake: str
    old: str
    new: str
    tests: str
    """Files under `tests/`, of which the fast tests are run; separated by blanks."""


REFINE, METHODS, METRICS = "methods/test_refine.py", "methods/test_methods.py", "evaluation/test_metrics.py"
MUTANTS = (
    Mutant(
        "L2 loss: + for -",
        'terms["l2"] = (img - anchors.img)',
        'terms["l2"] = (img + anchors.img)',
        REFINE,
    ),
    Mutant(
        "L2 loss: the mean over the batch, too",
        'terms["l2"] = (img - anchors.img).square().mean(dim=(1, 2, 3))',
        'terms["l2"] = (img - anchors.img).square().mean().expand(len(img))',
        REFINE,
    ),
    Mutant(
        "identity loss: similarity, not its lack",
        'terms["id"] = 1 - networks',
        'terms["id"] = 1 + networks',
        REFINE,
    ),
    Mutant(
        "identity loss: its weight moves by half, not a quarter",
        "(0.25 * torch.cos(",
        "(0.5 * torch.cos(",
        REFINE,
    ),
    Mutant(
        "ageing loss: always to the requested age",
        'goal = anchors.age if weights.aging_target == "anchor" else anchors.target_age',
        "goal = anchors.target_age",
        REFINE,
    ),
    Mutant(
        "patience: one step too many",
        "sample.plateau >= refinement.patience",
        "sample.plateau > refinement.patience",
        REFINE,
    ),
    Mutant(
        "max_steps: one step too many",
        "sample.steps >= refinement.max_steps",
        "sample.steps > refinement.max_steps",
        REFINE,
    ),
    Mutant(
        "refinement: keeps the highest loss",
        'best = loss < sample.losses.get("loss", math.inf)',
        'best = loss > sample.losses.get("loss", -math.inf)',
        REFINE,
    ),
    Mutant(
        "refinement: toRGB channels move too",
        "torch.where(moving, torch.stack(",
        "torch.where(torch.ones_like(moving), torch.stack(",
        REFINE,
    ),
    Mutant(
        "refinement: toRGB channels held where they started, not at the anchor's",
        "torch.where(networks.conv_mask, torch.stack([starts[i]",
        "torch.where(torch.ones_like(networks.conv_mask), torch.stack([starts[i]",
        REFINE,
    ),
    Mutant(
        "seeds shared between outputs",
        'f"{seed}/{name}/{output}"',
        'f"{seed}/{name}"',
        METHODS,
    ),
    Mutant(
        "seeds shared between photos",
        "output_seed(seed, names[row], output)",
        "output_seed(seed, names[0], output)",
        f"{METHODS} test_edit.py",
    ),
    Mutant(
        "perturbation: the mean style added, not taken away",
        "s = s - networks.s_mean",
        "s = s + networks.s_mean",
        METHODS,
    ),
    Mutant(
        "perturbation: the opposite turns the gender, too",
        "return mean - difference + 2 * (difference @ direction)",
        "return mean - difference + 0 * (difference @ direction)",
        METHODS,
    ),
    Mutant(
        "age path: not extrapolated beyond its end",
        "position = (alpha - start) / path.interval",
        "position = min((alpha - start) / path.interval, path.n_samples - 1)",
        METHODS,
    ),
    Mutant(
        "guided: keeps the farthest position",
        'if abs(age - target) < abs(sample.losses.get("age", math.inf) - target)',
        'if abs(age - target) > abs(sample.losses.get("age", target) - target)',
        METHODS,
    ),
    Mutant(
        "channel weights: identity's channels preferred",
        "channels.coef_age + (1 - channels.coef_id)",
        "channels.coef_age + channels.coef_id",
        "stylespace/test_statistics.py",
    ),
    Mutant(
        "StyleSpace: a layer's first channel located in the layer before",
        "enumerate(self.offsets[1:]) if c < end)",
        "enumerate(self.offsets[1:]) if c <= end)",
        "stylespace/test_layout.py",
    ),
    Mutant(
        "correlation: the means forgotten",
        "torch.outer(self.x, self.y) / self.n) / torch",
        "torch.outer(self.x, self.y) * 0) / torch",
        "analysis/test_correlation.py",
    ),
    Mutant(
        "mean over outputs, not photos",
        "self.score(self.per_photo.mean(dim=0))",
        "self.score(self.per_output.mean(dim=0))",
        METRICS,
    ),
    Mutant(
        "bootstrap over outputs, not photos",
        "bootstrap.interval(self.per_photo.numpy()",
        "bootstrap.interval(self.per_output.numpy()",
        METRICS,
    ),
    Mutant(
        "bootstrap: both tails at one end",
        "tail = (1 - self.confidence) / 2",
        "tail = 1 - self.confidence",
        METRICS,
    ),
    Mutant(
        "bootstrap: photos averaged over the resamples",
        "per_photo[drawn].mean(axis=1)",
        "per_photo[drawn].mean(axis=0)",
        METRICS,
    ),
    Mutant(
        "gender kept: counted where it changed",
        "(p_female > 0.5) == (p_female_source > 0.5)",
        "(p_female > 0.5) != (p_female_source > 0.5)",
        METRICS,
    ),
    Mutant(
        "harmonic score: the arithmetic mean",
        "2 * age * identity / (age + identity).clamp_min(torch.finfo(age.dtype).tiny)",
        "(age + identity) / 2",
        f"{METRICS} runs/test_directory.py",
    ),
    Mutant(
        "table: the worst in bold",
        'min(shown.values()) if self.quantity.better == "lower" else max(shown.values())',
        'max(shown.values()) if self.quantity.better == "lower" else min(shown.values())',
        "test_evaluate.py",
    ),
    Mutant(
        "table: the interval's ends swapped",
        'f"[{value.low:.{digits}f}, {value.high:.{digits}f}]"',
        'f"[{value.high:.{digits}f}, {value.low:.{digits}f}]"',
        "test_evaluate.py",
    ),
    Mutant(
        "lock: not taken",
        "fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)",
        "fcntl.LOCK_UN",
        "runs/test_directory.py",
    ),
    Mutant(
        "channel weights: the background counts as the face",
        'if name != "background"]',
        "]",
        "stylespace/test_statistics.py",
    ),
    Mutant(
        "run directory: in use by nobody",
        'self._lock = lock(self.path / ".lock")',
        'self._lock = (self.path / ".lock").open("a")',
        "runs/test_directory.py",
    ),
    Mutant(
        "run directory: a failed output counts as done",
        'row is not None and row["status"] == "ok"',
        "row is not None",
        "runs/test_directory.py",
    ),
    Mutant(
        "files: half a file stays behind",
        "os.unlink(stream.name)",
        "pass",
        "runs/test_directory.py",
    ),
    Mutant(
        "pictures: black at 0, not at -1",
        "img.detach().float().clamp(-1, 1) + 1) * 127.5",
        "img.detach().float().clamp(0, 1)) * 255",
        "runs/test_directory.py",
    ),
    Mutant(
        "second reading: the model's alone",
        "age = torch.lerp(age, self.age_from_features(img), self.views.features)",
        "age = self.age_from_features(img)",
        "methods/test_realign.py",
    ),
    Mutant(
        "filled batches: the copies stay in the result",
        "results.append(tuple(result[:n] for result in made))",
        "results.append(tuple(made))",
        "basics/test_batching.py",
    ),
    Mutant(
        "background: an error takes the other jobs with it",
        "failed = failed or error",
        "raise error",
        "runs/test_background.py",
    ),
    Mutant(
        "run's age error: to the anchor's age",
        'mean([abs(row["age"] - row["target_age"]) for row in ok])',
        'mean([abs(row["age"] - row["anchor_age"]) for row in ok])',
        "test_edit.py",
    ),
    Mutant(
        "inversion: the draft's losses count, too",
        "better = (loss < best_loss) & (step >= drafted)",
        "better = loss < best_loss",
        "faces/test_invert.py",
    ),
    Mutant(
        "refinement: the draft's losses count, too",
        "sample.reference, sample.plateau, sample.losses = math.inf, 0, {}",
        "sample.reference, sample.plateau = math.inf, 0",
        REFINE,
    ),
    Mutant(
        "distillation: the draft is taught one batch again and again",
        "difference(networks, draft, codes(step, self.batch_size)).backward()",
        "difference(networks, draft, codes(0, self.batch_size)).backward()",
        "analysis/test_distillation.py",
    ),
)


class UnjudgedError(Exception):
    """A mutant that says nothing about the tests."""


def place(mutant: Mutant, checkout: Path) -> Path:
    """The file in `adfd/` that holds the mutant's text. Raises UnjudgedError unless it stands there exactly once."""
    found = [path for path in sorted(checkout.glob("adfd/**/*.py")) for _ in range(path.read_text().count(mutant.old))]
    if len(found) != 1:
        where = ", ".join(str(path.relative_to(checkout)) for path in found) or "nowhere"
        raise UnjudgedError(f"{mutant.mistake}: {mutant.old!r} must stand once in adfd/, and stands in: {where}")
    return found[0]


def copy_to(folder: Path) -> Path:
    for name in COPIED:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def run_tests(checkout: Path, tests: str) -> subprocess.CompletedProcess[str]:
    """The fast tests of these files on a checkout, until the first that fails."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-m",
        "not slow and not cluster and not thorough",
        "-p",
        "no:cacheprovider",
    ]
    command += ["-o", "addopts=--strict-markers", *(f"tests/{file}" for file in tests.split())]
    # No bytecode: a mutant of its original's length, within the same second, would not be noticed.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)


def killer(mutant: Mutant, checkout: Path) -> str:
    """The test that notices the mutant; empty where none does. Raises UnjudgedError where pytest itself fails."""
    path = place(mutant, checkout)
    original = path.read_text()
    path.write_text(original.replace(mutant.old, mutant.new))
    try:
        done = run_tests(checkout, mutant.tests)
    finally:
        path.write_text(original)
    if done.returncode not in (0, 1):
        raise UnjudgedError(f"{mutant.mistake}: pytest ended with {done.returncode}\n{done.stdout[-2000:]}")
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    return failed[0].removeprefix("tests/") if failed else ""


def check_unbroken(mutants: tuple[Mutant, ...], checkout: Path) -> None:
    """Raises UnjudgedError where a text has moved away or the tests fail on the source as it is."""
    files = sorted({file for mutant in mutants for file in mutant.tests.split()})
    for mutant in mutants:
        place(mutant, checkout)
    if (done := run_tests(checkout, " ".join(files))).returncode:
        raise UnjudgedError(f"the tests fail on the source as it is:\n{done.stdout[-2000:]}")


def judged(mutants: tuple[Mutant, ...], checkouts: list[Path]) -> Iterator[tuple[Mutant, str, float]]:
    """Each mutant, the test that noticed it, and the seconds that took; as many at once as there are copies."""
    free: Queue[Path] = Queue()
    for checkout in checkouts:
        free.put(checkout)

    def judge(mutant: Mutant) -> tuple[Mutant, str, float]:
        checkout, started = free.get(), time.monotonic()
        try:
            return mutant, killer(mutant, checkout), time.monotonic() - started
        finally:
            free.put(checkout)

    with ThreadPoolExecutor(len(checkouts)) as pool:
        yield from pool.map(judge, mutants)


def line(mutant: Mutant, noticed: str, seconds: float, markdown: bool) -> str:
    if markdown:
        return f"| {mutant.mistake} | {f'`{noticed}`' if noticed else '**survived**'} |"
    return f"{'died' if noticed else 'SURVIVED':8} {seconds:5.1f} s  {mutant.mistake:60} {noticed}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("words", nargs="*", help="only mutants whose description has one of these words")
    arguments = parser.parse_args()
    words = arguments.words
    chosen = tuple(m for m in MUTANTS if not words or any(word in m.mistake for word in words))
    if not chosen:
        parser.error(f"no mutant's description has a word of {words}")
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        checkouts = [copy_to(Path(folder, str(number))) for number in range(AT_ONCE)]
        try:
            check_unbroken(chosen, checkouts[0])
            if arguments.markdown:
                print("| mistake | first test that fails |\n|---|---|")
            for mutant, noticed, seconds in judged(chosen, checkouts):
                survivors += not noticed
                print(line(mutant, noticed, seconds, arguments.markdown), flush=True)
        except UnjudgedError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    print(f"\n{len(chosen) - survivors} of {len(chosen)} mutants died", file=sys.stderr)
    return int(survivors > ALLOWED * len(chosen))


if __name__ == "__main__":
    sys.exit(main())
