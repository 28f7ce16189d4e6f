"""The settings as a resource of the graph: what the launchpad shows under ``resources: settings: config``.

Belongs here: that class. Does not belong here: settings.
"""

from copy import copy
from typing import Any

from dagster import ConfigurableResource, InitResourceContext
from pydantic import create_model

from resources.settings.fields import SettingError, marks_of, variable
from resources.settings.settings import Settings


class CrowdSettings(Settings, ConfigurableResource):
    """All settings of the platform. Each field ``name`` is read from the environment variable ``CROWD_NAME``; a run can be
    launched with others, but for those that must be set in the environment. A settled round refuses other settings."""

    def with_own_defaults(self) -> "CrowdSettings":
        """The same settings, and what a run's configuration leaves out is as it is here: Dagster would fill in the defaults of
        the class instead, whatever the environment says."""
        fields: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            own = copy(field)
            own.default = getattr(self, name)
            if not marks_of(field).per_run:
                own.description = f"{field.description} From the environment alone: a run cannot change it."
            fields[name] = (field.annotation, own)
        return create_model("CrowdSettings", __base__=CrowdSettings, __doc__=CrowdSettings.__doc__, **fields)()

    def setup_for_execution(self, context: InitResourceContext) -> None:
        """Refuse a run that asks for what other resources were made without.

        Raises:
            SettingError: a setting that only the environment can change was changed in the run's configuration.
        """
        changed = [
            name
            for name, field in type(self).model_fields.items()
            if not marks_of(field).per_run and field.default != getattr(self, name)
        ]
        if changed and type(self) is not CrowdSettings:
            variables = ", ".join(map(variable, changed))
            raise SettingError(
                f"{', '.join(changed)}: a run's configuration cannot change this, as other resources are made from it when "
                f"Dagster loads the code. Set {variables} in the environment, and reload the code location."
            )
