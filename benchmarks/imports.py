"""CPU seconds and peak memory of ``import table`` on 200,000 rows in each container: ``python -m benchmarks.imports``.

Belongs here: making the files, running the command line on each, one JSON line. Does not belong here: what is imported.
"""

import csv
import gzip
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROWS = 200_000
WORDS = [
    "the",
    "fair",
    "was",
    "lovely",
    "and",
    "the",
    "band",
    "played",
    "on",
    "by",
    "the",
    "river",
    "until",
    "late",
    "with",
    "lamps",
]
MAPPING = """kind = "preference"
[columns]
contributor_id = "who"
prompt = "q"
response_a = "l"
response_b = "r"
[defaults]
probability_a = 1
"""
MEASURED = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


def rows(number: int = ROWS) -> list[dict[str, str]]:
    """Judgements of 500 people, no two alike, about 470 bytes each."""
    drawn = random.Random(1)

    def text(words: int) -> str:
        return " ".join(drawn.choice(WORDS) for _ in range(words))

    return [
        {"who": f"w{i % 500}", "q": f"What {i}? {text(10)}", "l": f"{text(40)} {i}", "r": f"{text(40)} -{i}"}
        for i in range(number)
    ]


def write(folder: Path, made: list[dict[str, str]]) -> list[Path]:
    """The rows in each container."""
    import polars as pl
    from openpyxl import Workbook

    names = ("rows.csv", "rows.jsonl", "rows.json", "rows.jsonl.gz", "rows.parquet", "rows.xlsx")
    table, lines, listed, packed, parquet, workbook = (folder / name for name in names)
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(made[0]))
        writer.writeheader()
        writer.writerows(made)
    lines.write_text("".join(json.dumps(row) + "\n" for row in made))
    listed.write_text(json.dumps(made))
    packed.write_bytes(gzip.compress(lines.read_bytes(), 3))
    pl.DataFrame(made).write_parquet(parquet)
    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    for values in (list(made[0]), *(list(row.values()) for row in made)):
        sheet.append(values)
    book.save(workbook)
    return [table, lines, listed, packed, parquet, workbook]


def main() -> None:
    found: dict[str, Any] = {"rows": ROWS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mapping.toml").write_text(MAPPING)
        for source in write(folder, rows()):
            out = folder / f"out-{source.name}"
            command = [sys.executable, "-m", "crowd_assets", "import", "table", str(source), "--out", str(out)]
            command += ["--mapping", str(folder / "mapping.toml")]
            said = subprocess.run(
                [sys.executable, "-c", MEASURED, *command], capture_output=True, text=True, check=True
            )
            status, seconds, mebibytes = json.loads(said.stdout)
            assert status == 0, source
            found[source.name] = {"cpu_seconds": round(seconds, 1), "peak_mib": round(mebibytes)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
