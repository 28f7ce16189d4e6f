"""A command ends with one line about what a person can mend, and with a traceback about anything else."""

import errno
import os

import pytest
import typer

from crowd_assets.terminal import ending
from resources.common.errors import OperatorError


def ended(problem: BaseException | None, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a command that raises ``problem``."""
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def command() -> None:
        if problem is not None:
            raise problem

    def leave(status: int) -> None:
        raise StopIteration(status)

    monkeypatch.setattr("sys.argv", ["command"])
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(StopIteration) as left:
        ending.run(app, "command")
    return int(left.value.value)


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.ENOENT, errno.EROFS, errno.ENOTDIR])
def test_a_file_or_folder_that_cannot_be_had_is_one_line(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(OSError(number, os.strerror(number), "/srv/home"), monkeypatch) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: /srv/home: {os.strerror(number)}. ")


def test_an_operators_error_is_its_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(OperatorError("CROWD_X: no such setting"), monkeypatch) == 2
    assert capsys.readouterr().err == "error: CROWD_X: no such setting\n"
    assert ended(None, monkeypatch) == 0


@pytest.mark.parametrize(
    "problem", [OSError("nothing of a file"), OSError(errno.ECONNRESET, "reset", "x"), KeyError("x")]
)
def test_a_fault_of_the_program_keeps_its_traceback(problem: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["command"])
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def command() -> None:
        raise problem

    with pytest.raises(type(problem)):
        ending.run(app, "command")
