"""Jobs in threads, and what follows them in the caller's."""

from __future__ import annotations

import threading
import time

import pytest

from adfd.runs.background import MOST, Background


def test_what_follows_comes_in_the_order_of_the_jobs_and_in_this_thread() -> None:
    background, followed = Background(), []

    def after(n: int) -> None:
        followed.append((n, threading.current_thread()))

    def job(n: int) -> int:
        time.sleep(0.05 if n == 0 else 0)
        assert threading.current_thread() is not threading.main_thread()
        return n

    for n in range(6):
        background.add(lambda n=n: job(n), then=after)
    background.wait()
    assert followed == [(n, threading.main_thread()) for n in range(6)]


def test_no_more_jobs_wait_than_memory_is_meant_for() -> None:
    background, gate, followed = Background(), threading.Event(), []
    for _ in range(MOST):
        background.add(gate.wait, then=followed.append)
    assert not followed
    threading.Timer(0.1, gate.set).start()
    background.add(lambda: False, then=followed.append)  # waits for the first
    assert followed[0] is True
    background.wait()
    assert followed == [True] * MOST + [False]


def test_an_error_reaches_the_caller_and_loses_no_other_job() -> None:
    background, followed = Background(), []

    def fail() -> None:
        raise OSError(28, "No space left on device")

    gate = threading.Event()
    background.add(gate.wait, then=followed.append)  # keeps the others from being followed up in add
    background.add(fail, then=followed.append)
    background.add(lambda: "later", then=followed.append)
    gate.set()
    with pytest.raises(OSError, match="No space left"):
        background.wait()
    assert followed == [True, "later"]
    background.wait()  # the error is told once
