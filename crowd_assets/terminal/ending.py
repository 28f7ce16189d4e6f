"""How a command line of ours ends: a problem as one line, and no word of what libraries still hold.

Belongs here: that. Does not belong here: commands.
"""

import errno
import os
import sys

import typer

from resources.common.errors import OperatorError

OF_A_PLACE = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS),
        *(errno.ENOSPC, errno.EDQUOT),
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
    }
)
"""Errors of the system about a file or folder that somebody named or that is not as it was: a person can mend them."""


def run(app: typer.Typer, name: str) -> None:
    """Run a command line; a wrong setting or a failed round is one line, not a traceback.

    Args:
        name: of the program, for its help.
    """
    try:
        app(prog_name=name)
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 0
    except OperatorError as problem:
        typer.secho(f"error: {problem}", err=True, fg="red")
        status = 2
    except OSError as problem:
        if problem.errno not in OF_A_PLACE or not problem.filename:
            raise
        typer.secho(
            f"error: {problem.filename}: {problem.strerror}. Let this user read and write there, make room, or name another place: "
            "CROWD_HOME and the settings of places in docs/configuration.md.",
            err=True,
            fg="red",
        )
        status = 2
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # an ordinary exit lets DuckDB's binding print a page about objects of its own that it still holds
