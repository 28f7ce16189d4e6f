"""What people look at: a page a round, one on the whole campaign, and one for each contributor who asks.

Belongs here: gathering what the pages show, and how they look. Does not belong here: computing what a round comes to (see
``crowd_assets.assets``), the quality page's content (see ``crowd_assets.report.quality``).
"""

PORT = 3070
"""Where ``crowd-rounds docs-quality`` serves pages on 127.0.0.1, unless told otherwise."""
