"""An export goes to a hub by the hub's own client, whole; a dry run sends nothing, and what is refused is refused in words."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from crowd_assets.exporters.push import PushError, push

CARD = "---\nlicense: {}\nlibrary_name: transformers\n---\n# The model of r000001\n"


class Hub(ThreadingHTTPServer):
    """A hub on loopback that keeps what it is sent: as much of its interface as a push of small files needs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.made: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.writes = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def seen_by_all(self) -> bool:
        """Whether the repository that was made is public, in the words of earlier and of later clients."""
        (asked,) = self.made
        return asked.get("visibility", "private" if asked.get("private") else "public") == "public"


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != "Bearer hf_right":
            self._say(401, {"error": "Invalid credentials"})
        elif self.path.startswith("/api/whoami"):
            self._say(200, {"type": "user", "name": "ann", "auth": {}})
        elif self.server.made:
            self._say(200, {"id": "ann/model", "sha": "0" * 40, "siblings": []})
        else:
            self._say(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})

    def do_HEAD(self) -> None:
        self._say(404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/validate-yaml":
            self._say(200, {"errors": [], "warnings": []})
            return
        self.server.writes += 1
        if self.path == "/api/repos/create":
            self.server.made.append(json.loads(body))
            self._say(200, {"url": f"{self.server.address}/ann/model", "name": "ann/model"})
        elif "/preupload/" in self.path:
            files = [{"path": each["path"], "uploadMode": "regular"} for each in json.loads(body)["files"]]
            self._say(200, {"files": [each | {"shouldIgnore": False} for each in files]})
        else:
            for line in body.splitlines():
                told = json.loads(line)
                if told["key"] == "file":
                    self.server.files[told["value"]["path"]] = base64.b64decode(told["value"]["content"])
            self._say(200, {"commitUrl": f"{self.server.address}/ann/model/commit/1", "commitOid": "1" * 40})

    def _say(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in (
            {"Content-Type": "application/json", "Content-Length": str(len(body))} | (headers or {})
        ).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    here = Hub()
    threading.Thread(target=here.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", here.address)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield here
    here.shutdown()
    here.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    here = tmp_path / "r000001"
    (here / "adapter").mkdir(parents=True)
    (here / "README.md").write_text(CARD.format("apache-2.0"))
    (here / "config.json").write_text("{}")
    (here / "adapter" / "adapter_config.json").write_text('{"r": 8}')
    return here


def test_a_push_sends_every_file_to_a_private_repository(hub: Hub, folder: Path) -> None:
    sent = push(folder, "ann/model")
    assert hub.files == {name: (folder / name).read_bytes() for name in sent.files}
    assert set(sent.files) == {"README.md", "config.json", "adapter/adapter_config.json"}
    assert hub.seen_by_all() is False
    assert sent.url.endswith("/ann/model/commit/1")
    assert not sent.exists


def test_a_dry_run_asks_and_sends_nothing(hub: Hub, folder: Path) -> None:
    found = push(folder, "ann/model", dry_run=True)
    assert (hub.writes, found.exists, found.files["config.json"]) == (0, False, 2)


def test_a_model_without_a_license_is_not_given_to_others(hub: Hub, folder: Path) -> None:
    (folder / "README.md").write_text(CARD.format("other"))
    with pytest.raises(PushError, match="name the license with --license"):
        push(folder, "ann/model")
    assert hub.writes == 0
    push(folder, "ann/model", license_="llama3.2", public=True)
    assert hub.files["README.md"].decode().startswith("---\nlicense: llama3.2\n")
    assert hub.seen_by_all() is True


@pytest.mark.parametrize("repository", ["model", "ann/model/more", "ann/", "../model"])
def test_what_is_no_repository_is_refused(repository: str, hub: Hub, folder: Path) -> None:
    with pytest.raises(PushError, match="write OWNER/NAME"):
        push(folder, repository)


def test_a_token_that_the_hub_refuses_is_named_with_the_way_out(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(PushError, match="HF_TOKEN"):
        push(folder, "ann/model")
    assert hub.writes == 0
