"""Generated inputs: the same in each run of the suite, and what an expected failure must be."""

from hypothesis import settings


def examples(count: int):
    """Generated from the test's own name, not from the clock or from earlier runs."""
    return settings(max_examples=count, deadline=None, derandomize=True, database=None)


def one_line(error: Exception, start: str) -> str:
    message = str(error)
    assert message.startswith(start) and len(message.splitlines()) == 1, message
    assert message.isprintable(), message
    return message
