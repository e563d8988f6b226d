"""Running as root: PostgreSQL refuses to, so it gets an account of less power and just enough of a way in."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from cli.processes import Account

ACCOUNTS = ("postgres", "nobody")


def account_for(owned: Path) -> Account | None:
    """The account that must run a server whose data is `owned`; None when we are not root and it is simply ours.

    Data that exists keeps its owner, so that an account which appears on the machine later changes nothing.
    Raises LookupError where the machine has no account to use.
    """
    if os.geteuid() != 0:
        return None
    if owned.exists() and (owner := owned.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise LookupError(f"no account named {' or '.join(ACCOUNTS)} exists on this machine")


def open_way_to(path: Path, account: Account) -> list[Path]:
    """Let `account` pass through the directories above `path`; answers those that had to be opened (o+x, no more)."""
    opened = []
    for parent in reversed(path.resolve().parents):
        status = parent.stat()
        if status.st_mode & stat.S_IXOTH or status.st_uid == account.uid:
            continue
        parent.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
        opened.append(parent)
    return opened


def open_for_reading(tree: Path) -> None:
    """Make an installed tree readable to everybody, which it is not where it was installed under a tight umask."""
    for path in (tree, *tree.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        needed = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
        if mode != needed and not path.is_symlink():
            path.chmod(needed)
