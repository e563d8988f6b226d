"""Runs of the replay as an operator has them: a file, a process, its exit status and its report."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.order_lines import REQUIRED
from tests.replay.running import ROOT, Running

REAL_ORDERS = ROOT.parent / "shared" / "data" / "online_retail_baskets.csv"
RUN_S = 100.0

DIRTY = [
    ("1", "A", "6", "2010-12-01T08:26:00", "2.55", "17850"),
    ("1", "A", "2", "2010-12-01T08:26:00", "2.10", "17850"),
    ("1", "a", "1", "2010-12-01T08:26:00", "2.55", "17850"),
    ("2", "BULK", "10001", "2010-12-01 08:27:00", "0.10", ""),
    ("2", "POST", "1", "2010-12-01 08:27:00", "18.00", ""),
    *(("3", f"WIDE-{i}", "1", "2010-12-01T08:28:00", "1.00", "17851") for i in range(103)),
    ("C4", "A", "-3", "2010-12-01T08:29:00", "2.55", "17850"),
    ("C4", "ONLY-RETURNED", "-2", "2010-12-01T08:29:00", "2.55", "17850"),
    ("5", "BULK", "-20", "2010-12-01T08:30:00", "0.0", ""),
    ("5", "C", "4", "2010-12-01T08:30:00", "0.0", ""),
    ("6", "BANK CHARGES", "1", "2010-12-01T08:31:00", "-15.00", ""),
    ("7", "no sku", "1", "2010-12-01T08:32:00", "1.00", ""),
    ("8", "A", "one", "2010-12-01T08:33:00", "1.00", ""),
    ("9", "A", "1", "yesterday", "1.00", ""),
    ("C10", "A", "1", "2010-12-01T08:35:00", "1.00", ""),
]


def written(path: Path, rows: Iterable[tuple[str, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([REQUIRED, *rows])
    return path


def begin_replay(file: Path, running: Running, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.replay", str(file), "--url", running.url, "--json", "-"),
            *("--database-url", running.settings.require_database_url(), *options),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish_replay(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    output, errors = process.communicate(timeout=RUN_S)
    assert output, errors
    return process.returncode, json.loads(output)


def replay(file: Path, running: Running, *options: str) -> tuple[int, dict[str, Any]]:
    return finish_replay(begin_replay(file, running, *options))
