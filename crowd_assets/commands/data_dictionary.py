"""The data dictionary, written from one definition: ``python -m crowd_assets.commands.data_dictionary``.

Belongs here: rendering ``docs/data_dictionary.md``. Does not belong here: meanings (see ``resources.warehouse.dictionary``).
"""

from crowd_assets.assets.catalogue import TABLES
from resources.warehouse.dictionary import Table, tables

HEADER = """# Data dictionary

Every table and column of the warehouse. The snapshot (`warehouse.snapshot.duckdb` in `CROWD_HOME`) holds the same words as comments:
`SELECT table_name, column_name, comment FROM duckdb_columns()`; Dagster's catalogue shows them beside the assets. Instants are UTC.
[Ten questions to a home](notebooks/questions.ipynb) is a notebook that asks them.

This page is written by `python -m crowd_assets.commands.data_dictionary > docs/data_dictionary.md`.

"""


def dictionary() -> str:
    """The page as Markdown."""
    written_by = {name: asset for asset, names in TABLES.items() for name in names}
    return HEADER + "\n".join(_section(each, written_by.get(each.name, "")) for each in tables())


def _section(table: Table, asset: str) -> str:
    rows = "".join(f"| `{each.name}` | {each.type} | {each.words} |\n" for each in table.columns)
    by = f" Written by `{asset}`." if asset else ""
    return f"## {table.name}\n\n{table.words}{by}\n\n| column | type | meaning |\n|---|---|---|\n{rows}"


if __name__ == "__main__":
    print(dictionary(), end="")
