"""The desk's process: ``crowd-rounds serve``.

Belongs here: the server. Does not belong here: pages (see ``app``).
"""

import resource
import socket
from typing import Any

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from crowd_assets.desk.app import desk_app
from crowd_assets.desk.connections import limited
from crowd_assets.desk.desk import open_desk
from resources.build import Resources
from resources.common.errors import OperatorError
from resources.home.identity import open_home
from resources.settings.resource import CrowdSettings

MOST_CONNECTIONS = 2_000
FILES_BESIDE = 256


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
    app: Any = desk_app(desk)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
        limit_concurrency=MOST_CONNECTIONS,
    )
    proxies = ProxyHeadersMiddleware(app, config.forwarded_allow_ips).trusted_hosts
    config.http = limited(settings.desk_connections, proxies)
    _have_room_for(MOST_CONNECTIONS)
    uvicorn.Server(config).run()


def _have_room_for(connections: int) -> None:
    """Let the process hold so many connections, as far as the machine allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
