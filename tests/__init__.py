"""Where tests find the project's own files, and the reference data where there is any."""

import os
from pathlib import Path

PROJECT = Path(__file__).parents[1]
EXPORTS = PROJECT / "tests" / "exports"
REFERENCE_DATA = Path(os.environ.get("CROWD_REFERENCE_DATA") or PROJECT.parent / "shared" / "data")
