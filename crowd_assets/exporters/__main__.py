"""``python -m crowd_assets.exporters``: see ``cli``."""

from crowd_assets.command_line import run
from crowd_assets.exporters.cli import app

run(app, "python -m crowd_assets.exporters")
