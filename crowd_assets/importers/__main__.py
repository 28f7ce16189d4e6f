"""``python -m crowd_assets.importers``: see ``cli``."""

from crowd_assets.importers.cli import app

app(prog_name="python -m crowd_assets.importers")
