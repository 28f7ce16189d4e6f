"""The Dagster UI of a home, with its daemon: ``crowd-rounds ui``.

Belongs here: starting Dagster's processes on the home's own instance. Does not belong here: what they run.
"""

import os
import signal
import socket
from pathlib import Path

from resources.build import build_resources
from resources.common.errors import OperatorError
from resources.home.identity import open_home
from resources.home.instance import prepare_instance
from resources.settings.resource import CrowdSettings
from resources.tools.dagster_private import run_dev_server

CODE_LOCATION = "crowd_assets"
"""Name of the platform's code location, of which sensors' cursors are part: as in workspace.yaml."""
WEBSERVER = "crowd_assets.commands.webserver"


class UiPortTakenError(OperatorError, OSError):
    """Another process serves on the port."""


def serve_ui(settings: CrowdSettings, port: int) -> None:
    """Serve the UI on 127.0.0.1 with all sensors running, until interrupted.

    Raises:
        HomeError: the home is not what it should be.
        UiPortTakenError: the port is in use.
    """
    _check_port(port)
    open_home(settings, build_resources(settings).warehouse)
    os.environ["CROWD_HOME"] = str(Path(settings.home).resolve())  # Dagster's processes may have another folder
    folder = prepare_instance(settings)
    workspace = folder / "workspace.yaml"
    workspace.write_text(WORKSPACE, encoding="utf-8")
    print(f"Dagster UI  http://127.0.0.1:{port}  ({settings.home}; Ctrl-C ends the UI)", flush=True)
    # A shell that starts the UI in the background of a script has it ignore Ctrl-C, and Dagster gives SIGTERM the same meaning.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run_dev_server(port, workspace, webserver=WEBSERVER)


WORKSPACE = f"""# Written by crowd-rounds whenever its UI starts.
load_from:
  - python_module:
      module_name: crowd_assets.definitions
      attribute: definitions
      location_name: {CODE_LOCATION}
  - python_module:
      module_name: crowd_assets.experiments.definitions
      attribute: definitions
      location_name: experiments
"""


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as problem:
            raise UiPortTakenError(f"port {port} of 127.0.0.1: {problem.strerror}. Name another one: --port.") from None
