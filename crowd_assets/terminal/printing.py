"""What every command prints with: one console, tables, and text of strangers made harmless.

Belongs here: printing, with nothing that takes long to import. Does not belong here: what is printed.
"""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resources.common.plain_text import one_line

console = Console(highlight=False, soft_wrap=True)


def harmless(cell: object) -> str:
    """A value as one line that moves no cursor and is no markup."""
    return escape(f"{cell:.3f}" if isinstance(cell, float) else one_line(str(cell)))


def harmless_lines(text: str) -> str:
    """A text of several lines that moves no cursor and changes no colour; for ``rich.text.Text``, which reads no markup."""
    return "\n".join(one_line(line) for line in text.splitlines())


def print_table(title: str, columns: Sequence[tuple[str, bool]], rows: Iterable[Sequence[object]]) -> None:
    """Print rows below their title; nothing is a dash.

    Args:
        columns: Names, and whether they hold numbers.
    """
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, numeric in columns:
        table.add_column(
            name.replace("_", " "), justify="right" if numeric else "left", no_wrap=numeric, overflow="fold"
        )
    for row in rows:
        table.add_row(*("–" if cell is None else harmless(cell) for cell in row))
    console.print(table)
    console.print()
