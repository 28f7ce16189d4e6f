"""The settings as a resource of the graph: what the launchpad shows under ``resources: settings: config``.

Belongs here: that class, which ``resources.settings`` hands out. Does not belong here: settings.
"""

from dagster import ConfigurableResource

from resources.settings import Settings


class CrowdSettings(Settings, ConfigurableResource):
    """All settings of the platform. Each field ``name`` is read from the environment variable ``CROWD_NAME``; a run takes
    others from its configuration. A settled round refuses to be run again with settings that make another of it."""
