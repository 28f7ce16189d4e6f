"""The proxy of deploy/nginx, in nginx itself: who is let in, and what a page of another site can do."""

import base64
import http.client
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.deploy.test_files import DEPLOY
from tests.e2e.conftest import free_port, wait_for

pytestmark = [
    pytest.mark.deploy,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed"),
]
SERVER = "crowd.example.org"
DESK = "desk.example.org"
PORT = "8443"  # what example.env publishes it on
HERE = f"https://{SERVER}:{PORT}"
SESSION = "session=ann"


class Upstream(BaseHTTPRequestHandler):
    """The UI, the report server and oauth2-proxy in one: answers with what it was asked and who it was told asks."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        known = SESSION in (self.headers["Cookie"] or "")
        status = (202 if known else 401) if path == "/oauth2/auth" else 200
        body = "\n".join([self.path, *(f"{name}: {value}" for name, value in self.headers.items())]).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 (the name that http.server looks for)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@dataclass(frozen=True)
class Proxy:
    """A running nginx."""

    port: int

    def ask(
        self, path: str = "/", *, host: str = SERVER, method: str = "GET", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and body of the answer."""
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=10)
        try:
            connection.request(method, path, headers={"Host": host, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy") / "secrets"
    subprocess.run(
        ["sh", str(DEPLOY / "make_secrets.sh"), str(folder)], env={**os.environ, "SERVER_NAME": SERVER}, check=True
    )
    crypt = ["openssl", "passwd", "-6", "correct horse"]
    hashed = subprocess.run(crypt, capture_output=True, text=True, check=True).stdout
    (folder / "htpasswd").write_text(f"ann:{hashed}")
    return folder


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.fixture(scope="module")
def start(secrets: Path, upstream: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Proxy]]:
    """Starts nginx on the files of deploy/nginx with one kind of authentication, as the container would have them."""
    running = []

    def started(authentication: str) -> Proxy:
        folder, port = tmp_path_factory.mktemp("nginx"), free_port()

        def placed(text: str) -> str:
            for there, here in {
                "${SERVER_NAME}": SERVER,
                "${DESK_NAME}": DESK,
                "${PORT}": PORT,
                "/run/secrets": str(secrets),
                "/etc/nginx/authentication.conf": str(folder / "authentication.conf"),
                "listen 8443": f"listen 127.0.0.1:{port}",
                "127.0.0.1:3000": f"127.0.0.1:{upstream}",
                "127.0.0.1:3070": f"127.0.0.1:{upstream}",
                "127.0.0.1:3080": f"127.0.0.1:{upstream}",
                "127.0.0.1:4180": f"127.0.0.1:{upstream}",
            }.items():
                text = text.replace(there, here)
            return text

        (folder / "authentication.conf").write_text(placed((DEPLOY / "nginx" / f"{authentication}.conf").read_text()))
        (folder / "default.conf").write_text(placed((DEPLOY / "nginx" / "default.conf.template").read_text()))
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        # Started by root, workers would take an account that cannot read a folder of root's.
        user = "user root;\n" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            f"{user}daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{paths}include {folder}/default.conf;\n}}\n"
        )
        command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
        subprocess.run([*command, "-t", "-q"], check=True, timeout=20)
        running.append(subprocess.Popen(command))
        proxy = Proxy(port)

        def answers() -> bool:
            try:
                return proxy.ask("/healthz", host="127.0.0.1")[0] == 204
            except OSError:
                return False

        wait_for("nginx answers", answers, seconds=5, explain=(folder / "error.log").read_text)
        return proxy

    yield started
    for process in running:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture(scope="module")
def password(start: Callable[[str], Proxy]) -> Proxy:
    return start("password")


@pytest.fixture(scope="module")
def oauth2(start: Callable[[str], Proxy]) -> Proxy:
    return start("oauth2")


def basic(user: str, word: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{word}".encode()).decode()}


ANN = basic("ann", "correct horse")


@pytest.mark.parametrize(
    "path", ["/", "/graphql", "/server_info", "/quality/", "/quality/../graphql", "/healthz", "/oauth2/auth"]
)
def test_nobody_comes_in_without_a_password(password: Proxy, path: str) -> None:
    assert password.ask(path)[0] == 401
    assert password.ask(path, headers=basic("ann", "wrong"))[0] == 401
    assert password.ask(path, headers=basic("bob", "correct horse"))[0] == 401


def test_who_is_let_in_reaches_the_ui_which_learns_no_password(password: Proxy) -> None:
    status, headers, body = password.ask("/runs", headers=ANN)
    assert (status, body.splitlines()[0]) == (200, "/runs")
    assert f"Host: {SERVER}" in body
    assert "Authorization" not in body
    assert headers["X-Frame-Options"] == "DENY"
    status, _, body = password.ask("/quality/index.html", headers=ANN)
    assert (status, body.splitlines()[0]) == (200, "/index.html")
    assert "Host: 127.0.0.1" in body
    assert "Authorization" not in body


def test_the_ui_can_open_its_web_socket(password: Proxy) -> None:
    wanted = {"Upgrade": "websocket", "Connection": "Upgrade", "Origin": HERE}
    body = password.ask("/graphql", headers={**ANN, **wanted})[2].lower()
    assert "upgrade: websocket" in body
    assert "connection: upgrade" in body


def test_the_desk_lets_people_in_by_itself_and_believes_no_name_that_they_bring(password: Proxy) -> None:
    given = {"X-Forwarded-Email": "boss@example.org", "X-Forwarded-User": "boss", "Authorization": "Basic eA=="}
    status, _, body = password.ask("/join/x", host=DESK, headers=given)
    assert (status, body.splitlines()[0]) == (200, "/join/x")
    assert f"Host: {DESK}" in body
    assert "boss" not in body
    assert "Basic" not in body
    assert password.ask("/", host=f"evil.{DESK}", headers=ANN)[0] == 421


@pytest.mark.parametrize(
    "origin", ["https://evil.example", f"https://{SERVER}.evil.example", f"http://{SERVER}", "null"]
)
def test_pages_of_other_sites_can_do_nothing(password: Proxy, oauth2: Proxy, origin: str) -> None:
    assert password.ask("/graphql", method="POST", headers={**ANN, "Origin": origin})[0] == 403
    assert oauth2.ask("/graphql", method="POST", headers={"Cookie": SESSION, "Origin": origin})[0] == 403


@pytest.mark.parametrize("origin", [HERE, f"https://{SERVER}"])
def test_pages_of_this_site_can(password: Proxy, origin: str) -> None:
    assert password.ask("/graphql", method="POST", headers={**ANN, "Origin": origin})[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", f"{SERVER}.evil.example"])
def test_no_other_name_leads_in(password: Proxy, oauth2: Proxy, host: str) -> None:
    assert password.ask("/", host=host, headers=ANN)[0] == 421
    assert oauth2.ask("/", host=host, headers={"Cookie": SESSION})[0] == 421


@pytest.mark.parametrize("path", ["/", "/graphql", "/quality/"])
def test_nobody_comes_in_without_an_account(oauth2: Proxy, path: str) -> None:
    status, headers, _ = oauth2.ask(path)
    assert status == 302
    assert headers["Location"].endswith(f"/oauth2/start?rd={path}")
    assert oauth2.ask(path, headers=ANN)[0] == 302


def test_an_account_leads_to_the_ui(oauth2: Proxy) -> None:
    status, _, body = oauth2.ask("/runs", headers={"Cookie": SESSION})
    assert (status, body.splitlines()[0]) == (200, "/runs")


def test_signing_in_takes_no_account(oauth2: Proxy) -> None:
    status, _, body = oauth2.ask("/oauth2/callback?code=1", headers={"X-Forwarded-Uri": "/healthy"})
    assert (status, body.splitlines()[0]) == (200, "/oauth2/callback?code=1")
    assert "X-Forwarded-Uri: /oauth2/callback?code=1" in body
    assert oauth2.ask("/oauth2/auth")[0] == 404
