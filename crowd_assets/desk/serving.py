"""The desk's process: ``crowd-rounds serve``.

Belongs here: the server. Does not belong here: pages (see ``app``).
"""

import socket

import uvicorn

from crowd_assets.desk.app import desk_app
from crowd_assets.desk.desk import open_desk
from resources.build import Resources
from resources.common.errors import OperatorError
from resources.home.identity import open_home
from resources.settings.resource import CrowdSettings


class DeskPortTakenError(OperatorError, OSError):
    """Another process listens on the port."""


def serve(settings: CrowdSettings, resources: Resources, host: str, port: int) -> None:
    """Serve the desk until interrupted.

    Raises:
        HomeError: the home is not what it should be.
        DeskPortTakenError: the port is in use.
    """
    open_home(settings, resources.warehouse)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            raise DeskPortTakenError(f"port {port} of {host}: {problem.strerror}. Name another one: --port.") from None
    url = settings.desk_url or f"http://{host}:{port}"
    desk = open_desk(settings, resources, url)
    print(f"desk  {url}  (crowd-rounds invite --count 20 lets people in; end it by Ctrl-C)", flush=True)
    uvicorn.run(
        desk_app(desk),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
        limit_concurrency=2_000,
    )
