"""The error whose message is all that a person needs.

Belongs here: that class. Does not belong here: errors themselves, which live beside what raises them.
"""


class OperatorError(Exception):
    """An error that names what is wrong and the way out: shown as one line, without a traceback."""
