"""Every script says what it is for, and what it says is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine import answers, rate_limits
from engine.keys import Keys
from engine.scripts import LUA_FOLDER, VERBS, Script

SUITE = Path(__file__).parent
READERS = Path(answers.__file__).read_text(encoding="utf-8") + (
    Path(answers.__file__).with_name("shard.py").read_text(encoding="utf-8")
)
LIMITS = Path(rate_limits.__file__).read_text(encoding="utf-8")
RECORD = re.compile(r"(?:\]|record) = \{ 'held', .*")
ANSWER = re.compile(r"\{ '([a-z-]+)'")
ANSWER_OF_LIMITS = re.compile(r"return '([a-z-]+)'")


def test_each_file_is_a_verb_and_each_verb_a_file() -> None:
    assert {path.stem for path in LUA_FOLDER.glob("*.lua")} == {*VERBS, "prelude", "holds", "limit"}


@pytest.mark.parametrize("verb", VERBS)
def test_a_header_names_purpose_keys_arguments_answers_and_events(verb: str) -> None:
    assert {"Purpose", "KEYS", "ARGV", "Answers", "Emits"} <= Script(verb).header.fields.keys()


@pytest.mark.parametrize("verb", VERBS)
def test_a_script_answers_just_what_its_header_says_and_each_answer_is_read(verb: str) -> None:
    script = Script(verb)
    body = (LUA_FOLDER / f"{verb}.lua").read_text(encoding="utf-8")
    shared = {"key-reused"} if "once(" in body else set()
    shared |= {"unknown-hold", "hold-expired", "hold-not-live"} if "not_live(" in body else set()
    assert set(ANSWER.findall(RECORD.sub("", body))) | shared == set(script.header.answers)
    for status in script.header.answers:
        assert f'"{status}"' in READERS or status in ("swept", "acknowledged"), status


def test_the_limits_script_stands_alone_and_says_what_it_is() -> None:
    script = Script("limit", with_prelude=False)
    assert {"Purpose", "KEYS", "ARGV", "Answers", "Emits"} <= script.header.fields.keys()
    assert script.header.flags == ("allow-oom",)
    assert set(ANSWER_OF_LIMITS.findall(script.text)) == set(script.header.answers) == {"allowed", "limited"}
    assert '"allowed"' in LIMITS
    assert "XADD" not in script.text


@pytest.mark.parametrize("verb", VERBS)
def test_a_script_emits_the_kind_that_its_header_names(verb: str) -> None:
    body = (LUA_FOLDER / f"{verb}.lua").read_text(encoding="utf-8")
    kinds = re.findall(r"emit\('(\w+)'", body)
    assert kinds == ([] if verb == "acknowledge" else [verb])
    assert Script(verb).header.fields["Emits"].startswith(verb if kinds else "nothing")


@pytest.mark.parametrize("verb", VERBS)
def test_the_event_is_the_first_write(verb: str) -> None:
    """A script has no rollback, so what may refuse (a repeated sequence, no memory) comes before what cannot."""
    body = (LUA_FOLDER / f"{verb}.lua").read_text(encoding="utf-8")
    if verb == "acknowledge":
        return
    before = body[: body.index("emit(")]
    assert not re.search(r"'(SET|HSET|ZADD|ZREM|SADD|SREM|DEL|HDEL)'", before)


def test_every_key_carries_the_hash_tag_of_its_shard() -> None:
    keys = Keys(3)
    for key in (*keys.prelude, keys.flush_lease, keys.hold("x"), keys.memory("x")):
        assert key.startswith("{s3}:")


@pytest.mark.parametrize("path", sorted(LUA_FOLDER.glob("*.lua")), ids=lambda path: path.stem)
def test_no_key_is_spelled_in_a_script(path: Path) -> None:
    """Each key that a script touches is one of KEYS."""
    text = path.read_text(encoding="utf-8")
    assert "{s" not in text
    for call in re.findall(r"redis\.p?call\('\w+', ([^,)]+)", text):
        assert re.fullmatch(r"[A-Z]+|key|texts\[i\]|unpack\((?:keys|KEYS)", call), call
