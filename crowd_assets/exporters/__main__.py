"""``python -m crowd_assets.exporters``: see ``cli``."""

from crowd_assets.exporters.cli import main

main()
