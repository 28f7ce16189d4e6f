"""The settings as a resource of the graph: what the launchpad shows under ``resources: settings: config``.

Belongs here: that class. Does not belong here: settings.
"""

from copy import copy
from typing import Any

from dagster import Config, ConfigurableResource, InitResourceContext, ResourceDefinition
from pydantic import create_model

from resources.settings.fields import marks_of
from resources.settings.settings import Settings


class CrowdSettings(Settings, ConfigurableResource):
    """All settings of the platform. Each field ``name`` is read from the environment variable ``CROWD_NAME``; a run can be
    launched with others, but for those that other resources or jobs are made from. A settled round refuses other settings."""

    def of_run(self) -> ResourceDefinition:
        """These settings as a resource whose configuration is what a run may change and nothing else. What the configuration leaves out
        is as it is here: Dagster would fill in the defaults of the class instead, whatever the environment says."""
        changeable: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            if marks_of(field).per_run:
                own = copy(field)
                own.default = getattr(self, name)
                changeable[name] = (field.annotation, own)
        schema = create_model("SettingsOfRun", __base__=Config, **changeable).to_config_schema()

        def settings(context: InitResourceContext) -> CrowdSettings:
            return self.changed(**context.resource_config)

        return ResourceDefinition(settings, config_schema=schema, description=type(self).__doc__)
