"""What steps of one run hand to each other: small JSON values, never pickles.

Belongs here: the IO manager of the candidate graph. Does not belong here: frames and tables.
"""

import json
from typing import Any

from dagster import ConfigurableIOManager, InputContext, OutputContext
from pydantic import Field
from upath import UPath

from resources.files.storage import write_text_atomically


class JsonStepOutputs(ConfigurableIOManager):
    """JSON files at ``<root>/<run>/<step>/<output>``."""

    root: str = Field(description="Folder or URI of the files.")

    def _path(self, context: OutputContext) -> UPath:
        return UPath(self.root, *context.get_identifier())

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        if obj is not None:
            write_text_atomically(self._path(context), json.dumps(obj))

    def load_input(self, context: InputContext) -> Any:
        assert context.upstream_output is not None
        return json.loads(self._path(context.upstream_output).read_text(encoding="utf-8"))
