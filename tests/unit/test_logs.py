"""What logs show of an exception."""

from __future__ import annotations

import logging

import pytest

from engine.logs import MAX_MESSAGE_LENGTH, PlainLines, describe_exception, describe_message

NAME = "ann"


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (KeyError("ann"), "…"),
        (ValueError("invalid literal for int() with base 10: 'ann'"), "invalid literal for int() with base 10: …"),
        (ValueError('"ann" and `bob` and "c\\"d"'), "… and … and …"),
        (ValueError("refused\nDETAIL:  Failing row contains (ann)."), "refused"),
        (ValueError("Key (customer_id)=(ann) is there"), "Key … is there"),
        (ConnectionError("Error 111 connecting to 127.0.0.1:6379."), "Error 111 connecting to 127.0.0.1:6379."),
        (PermissionError("permission denied for table orders"), "permission denied for table orders"),
        (ValueError(), ""),
        (ValueError("x" * 1_000), "x" * MAX_MESSAGE_LENGTH),
        (ValueError("x" * (MAX_MESSAGE_LENGTH - 2) + "'ann'"), "x" * (MAX_MESSAGE_LENGTH - 2) + "…"),
    ],
)
def test_a_message_is_shown_without_what_may_be_a_value(error: Exception, shown: str) -> None:
    assert describe_message(error) == shown


def test_an_exception_is_shown_with_what_led_to_it_and_where() -> None:
    text = describe_exception(raised())
    assert text.index("KeyError: …") < text.index("RuntimeError: it broke")
    assert text.count(f'"{__file__}", line') == 2
    assert NAME not in text


def test_what_was_raised_from_none_hides_its_cause() -> None:
    error = raised()
    error.__cause__, error.__suppress_context__ = None, True
    assert "KeyError" not in describe_exception(error)


def test_a_circle_of_causes_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert describe_exception(one) == "ValueError: other\nValueError: one"


def test_a_plain_line_ends_with_the_exception_as_it_is_described() -> None:
    error = raised()
    record = logging.LogRecord("jobs", logging.ERROR, "", 0, "failed", (), (type(error), error, error.__traceback__))
    line = PlainLines().format(record)
    assert line.endswith(f" ERROR jobs failed\n{describe_exception(error)}")


def raised() -> RuntimeError:
    known: dict[str, int] = {}
    try:
        try:
            known[NAME]
        except KeyError as error:
            raise RuntimeError("it broke") from error
    except RuntimeError as error:
        return error
    raise AssertionError("nothing was raised")
