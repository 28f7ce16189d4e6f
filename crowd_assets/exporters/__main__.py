"""``python -m crowd_assets.exporters``: see ``cli``."""

from crowd_assets.exporters.cli import app

app(prog_name="python -m crowd_assets.exporters")
