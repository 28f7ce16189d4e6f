"""A home that an earlier commit settled, as an archive that tests unpack: ``python -m tests.homes.make_home COMMIT``.

Two small rounds are played by that commit's own code, with its stub trainer and with stand-ins for the models (see ``stand_ins``),
and what an audit reads is kept: no weights but the stub's adapters of a few hundred bytes. Belongs here: playing, keeping. Does not
belong here: auditing (see ``test_settled_homes``).
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests import PROJECT
from tests.homes.stand_ins import SECRET

HOMES = Path(__file__).parent
DROPPED = (
    "ingesting", "quality", "reports", "steps", "dagster", "exports", "models_cache", "embeddings.sqlite", "truth.json",
    "warehouse.snapshot.duckdb", "warehouse.duckdb.lock", "warehouse.duckdb.lock.holder", "warehouse.duckdb.wal",
)  # fmt: skip
"""Of a home's folder: what no audit reads."""


def main(commit: str) -> None:
    """Write ``settled_<hash>.tar.xz`` beside this module, for a commit, branch or tag."""
    asked = ["git", "rev-parse", "--short=7", f"{commit}^{{commit}}"]
    digits = subprocess.run(asked, cwd=PROJECT, check=True, capture_output=True, text=True).stdout.strip()
    with tempfile.TemporaryDirectory() as place:
        project, folder = Path(place, "project"), Path(place, "played")
        folder.mkdir()
        subprocess.run(["git", "worktree", "add", "--detach", str(project), commit], cwd=PROJECT, check=True)
        try:
            shutil.copy(project / "dagster.yaml", folder)
            environment = {**os.environ, "PYTHONPATH": str(project), "CROWD_SECRET": SECRET}
            subprocess.run([sys.executable, HOMES / "play.py", folder], cwd=project, env=environment, check=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(project)], cwd=PROJECT, check=True)
        keep(folder / "home", HOMES / f"settled_{digits}.tar.xz")


def keep(home: Path, archive: Path) -> None:
    """Put what an audit of ``home`` reads into ``archive``, the same bytes for the same files."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if entry.name.split("/")[0] in DROPPED or entry.name.startswith(".") or not (entry.isfile() or entry.isdir()):
            return None
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return entry

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz", preset=9) as tar:
        for path in sorted(home.iterdir()):
            tar.add(path, arcname=path.name, filter=plain)
    archive.write_bytes(packed.getvalue())
    print(f"{archive}: {len(packed.getvalue()):,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
