"""``python -m crowd_assets.exporters``: see ``cli``."""

from crowd_assets.exporters.cli import app
from crowd_assets.terminal.ending import run

run(app, "python -m crowd_assets.exporters")
