"""The error whose message is all that a person needs.

Belongs here: that class, and what is not installed. Does not belong here: other errors, which live beside what raises them.
"""

from importlib.util import find_spec


class OperatorError(Exception):
    """An error that names what is wrong and the way out: shown as one line, without a traceback."""


class MissingExtraError(OperatorError, ImportError):
    """A setting or command asks for a package that is not installed."""


def require(package: str, what: str, extra: str = "cluster") -> None:
    """Check that an optional package is installed, without importing it.

    Raises:
        MissingExtraError: it is not.
    """
    if find_spec(package.partition(".")[0]) is None:
        raise MissingExtraError(f'{what}: {package} is not installed. Run pip install -e ".[{extra}]", or do without.')
