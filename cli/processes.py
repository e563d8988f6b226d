"""Child processes: started in a session of their own, ended with whoever started them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypedDict

import psutil

PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>
POLL_S = 0.02


class Account(NamedTuple):
    """The user and group that a child runs as."""

    uid: int
    gid: int


def spawn(
    command: Sequence[str],
    *,
    log_path: Path,
    environment: Mapping[str, str],
    death_signal: signal.Signals = signal.SIGTERM,
    account: Account | None = None,
    pass_fds: Sequence[int] = (),
    directory: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` with its output appended to `log_path`.

    It gets a session of its own, so that Ctrl-C in a terminal reaches only whoever supervises it, and on Linux the
    kernel sends it `death_signal` if the thread that called this dies, even by SIGKILL. Call it from the main thread.
    """
    with log_path.open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=directory,
            start_new_session=True,
            pass_fds=pass_fds,
            preexec_fn=_die_with_parent(death_signal),  # noqa: PLW1509 - forks from a process without threads
            **account_arguments(account),
        )


class AccountArguments(TypedDict, total=False):
    """The arguments of `subprocess` that change who a child is."""

    user: int
    group: int
    extra_groups: list[int]


def account_arguments(account: Account | None) -> AccountArguments:
    """What to hand to `subprocess` to run as `account`; nothing for None, which needs no privilege."""
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


def _die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """What a child calls between fork and exec; everything that may allocate or lock happens here, before the fork."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def die_with_parent() -> None:
        prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died between the fork and the prctl
            os._exit(1)

    return die_with_parent


def kill_family(pid: int) -> None:
    """Kill a process and its descendants: the process that an RQ worker forked for a job leaves the worker's group."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                member.kill()


def end(process: subprocess.Popen[bytes], stop_signal: signal.Signals, timeout_s: float) -> int:
    """Ask our own child to stop, kill it when it has not within `timeout_s`, and answer its exit status."""
    if process.poll() is None:
        process.send_signal(stop_signal)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            kill_family(process.pid)
    return process.wait()


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether `condition` came true within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True
