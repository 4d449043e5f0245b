"""Errors a user can cause or meet, each with the exit code it ends the command with.

    PrivassayError                 (never raised itself)
    |- UsageError            2     the command, the experiment, the policy or the data is wrong
    |- InfrastructureError   4     a disk, a server or a library failed
    '- NotApplicable               an attack or a defence cannot run on this model: recorded, not fatal

Exit codes of the command line, strongest first: 2 usage, 4 error, 1 policy violated, 3 inconclusive, 0 pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class ExitCode(IntEnum):
    """What the command line returns (architecture: the contract on the command line)."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    INCONCLUSIVE = 3
    ERROR = 4


class PrivassayError(Exception):
    """Base of every error that is shown to the user as one line, never as a traceback."""

    exit_code = ExitCode.ERROR


class UsageError(PrivassayError):
    """The input is wrong: the message names the file, the key, the value and what is allowed."""

    exit_code = ExitCode.USAGE


class InfrastructureError(PrivassayError):
    """Something outside the evaluation failed (disk, server, library); finished work is kept."""


class NotApplicable(PrivassayError):
    """A component cannot run here; the message is the reason printed where the result would stand."""


_SHOWN = 200
"""Characters of a foreign text that an error may quote."""


def shortened(text: str) -> str:
    """A foreign text on one line, cut where it is long, without characters that a terminal would obey."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def told(error: BaseException) -> str:
    """An exception of foreign code on one line."""
    return f"{type(error).__name__}: {shortened(str(error))}"


@contextmanager
def located(where: str) -> Iterator[None]:
    """Put `where` in front of an error's words; its kind, and so the exit code, stays.

    Raises:
        UsageError: as raised inside.
        InfrastructureError: as raised inside.
    """
    try:
        yield
    except (UsageError, InfrastructureError) as error:
        raise type(error)(f"{where}: {error}") from error
