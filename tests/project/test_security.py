"""What the platform may not do, whoever asks: unpickle, run a repository's code, call out, listen to others, tell a secret."""

import ast
import json
import logging
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import duckdb
import polars as pl
import pytest
import typer
import yaml
from dagster import DagsterInstance, materialize

from crowd_assets.__main__ import app
from crowd_assets.assets.feedback import raw_feedback
from crowd_assets.exporters.exchange import pull_judgements
from crowd_assets.report.quality import QualityServer, quality_page
from resources.build import build_resources
from resources.rounds.book import RoundBook
from resources.settings.fields import SettingError
from resources.settings.resource import CrowdSettings
from resources.tools.label_studio import LabelStudioError
from resources.training.loading import ModelUnavailableError, load
from sensors.rounds import nightly_quorum
from tests import PROJECT

SOURCES = sorted(path for name in ("crowd_assets", "resources", "sensors") for path in (PROJECT / name).rglob("*.py"))
CANARY = "canary-3f9c1d2e7a5b4860"

# What reads objects instead of data, runs text, or hands text to a shell.
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "ruamel"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "torch.load",
    "pd.read_pickle",
    "pandas.read_pickle",
    "os.system",
    "os.popen",
}


def offences(source: str) -> list[str]:
    """What in a module reads more than data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").split(".")[0] in FORBIDDEN_MODULES | {"yaml"}:
                found.append(str(node.module))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {keyword.arg: keyword.value for keyword in node.keywords}
            if name in FORBIDDEN_CALLS or (
                name.startswith("yaml.") and name not in ("yaml.safe_load", "yaml.safe_dump")
            ):
                found.append(name)
            for option, right in (("trust_remote_code", False), ("allow_pickle", False), ("shell", False)):
                if option in options and ast.unparse(options[option]) != str(right):
                    found.append(f"{name}({option})")
            if name in ("np.load", "numpy.load") and "allow_pickle" not in options:
                found.append(f"{name} without allow_pickle=False")
            if name.endswith(".from_pretrained") and "AutoModel" in name and "use_safetensors" not in options:
                found.append(f"{name} without use_safetensors=True")
        elif isinstance(node, ast.Constant) and node.value == "0.0.0.0":
            found.append("listens to others")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('f')",
        "import yaml\nyaml.load(text)",
        "from yaml import load",
        "model(trust_remote_code=True)",
        "model(trust_remote_code=setting)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "AutoModelForCausalLM.from_pretrained(folder)",
        "subprocess.run(command, shell=True)",
        "eval(text)",
        "server = HTTPServer(('0.0.0.0', 80), handler)",
    ],
)
def test_what_reads_more_than_data_would_be_found(source: str) -> None:
    assert offences(source)


def test_nothing_of_ours_reads_more_than_data() -> None:
    assert len(SOURCES) > 80
    assert {str(path.relative_to(PROJECT)): found for path in SOURCES if (found := offences(path.read_text()))} == {}


class Explosion:
    """What a pickle does that nobody should open."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("place", ["root", "adapter"])
def test_a_model_in_a_pickle_is_refused_and_not_opened(tmp_path: Path, seed_folder: Path, place: str) -> None:
    root, adapter, mark = tmp_path / "root", tmp_path / "adapter", tmp_path / "exploded"
    shutil.copytree(seed_folder / "language_model", root)
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}')
    bomb = pickle.dumps(Explosion(mark))
    if place == "root":
        (root / "model.safetensors").unlink()
        (root / "pytorch_model.bin").write_bytes(bomb)
    else:
        (adapter / "adapter_model.bin").write_bytes(bomb)
    with pytest.raises(ModelUnavailableError, match="CROWD_BASE_MODEL" if place == "root" else "safetensors only"):
        load(str(root), [] if place == "root" else [adapter])
    assert not mark.exists()
    pickle.loads(bomb)
    assert mark.exists()  # it would have


# The network

WATCHED = """
import ipaddress, json, os, sys
from pathlib import Path

asked = []

def watch(event, arguments):
    if event == "socket.connect" or event == "socket.sendto":
        address = arguments[1]
        if isinstance(address, tuple):
            host = address[0]
            if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
                asked.append(str(address))
                raise OSError("no way out")
    elif event == "socket.getaddrinfo" and arguments[0] not in (None, "localhost", "127.0.0.1", "::1", ""):
        asked.append(str(arguments[0]))
        raise OSError("no way out")

sys.addaudithook(watch)
from datetime import UTC, datetime
from functools import partial
from upath import UPath
from resources.build import build_resources
from crowd_assets.quality.detectors import detect
from crowd_assets.quality.gate import check_feedback
from crowd_assets.simulation.crowd import SimulatedCrowd
from resources.rounds.book import RoundBook
from resources.settings.resource import CrowdSettings
from resources.training.candidates import CandidateConfig, Demonstrations
from sensors.rounds import nightly_quorum

settings = CrowdSettings(home=sys.argv[1])
resources = build_resources(settings)
inbox = resources.inbox
SimulatedCrowd("gratitude", 0).write_feedback(1, UPath(inbox.root), [])
inbox.ingest()
round_, reason = RoundBook(resources.warehouse).claim(nightly_quorum(settings), settings, datetime.now(UTC))
events = partial(inbox.chunks, round_.from_seq, round_.to_seq)
embed = resources.embedder.embed
gate = check_feedback(round_, events, resources.data_quality, settings, detect=detect, embed=embed)
config = CandidateConfig(learning_rate=1e-2, epochs=1, batch_size=4, rank=2, alpha=4, max_tokens=32)
pairs = Demonstrations([("What is new?", "Not much.")] * 4, ["c1"] * 4)
(candidate,) = resources.trainer.train_candidates(
    None, [pairs], config=config, seed=1, valuation=None, cards=[{}], progress=lambda *_: None
)
if sys.argv[2] == "call out":
    import urllib.request
    import socket
    for call in (
        lambda: urllib.request.urlopen("http://203.0.113.9/", timeout=1),
        lambda: urllib.request.urlopen("http://example.org/", timeout=1),
        lambda: socket.socket().connect(("203.0.113.9", 80)),
    ):
        try:
            call()
        except OSError:
            pass
print(json.dumps({"asked": asked, "accepted": gate.accepted, "model": candidate.model}))
"""


def test_a_round_calls_nobody_unless_asked_to(home: Path) -> None:
    """Ingestion, gate with Great Expectations, Φ and training, with nothing in the environment that forbids them to."""
    quiet = {"HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "GX_ANALYTICS_ENABLED", "DO_NOT_TRACK"}
    environment = {name: value for name, value in os.environ.items() if name not in quiet}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(home), "call out"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["accepted"] > 100
    assert len(found["model"]) == 40
    # Only what was called on purpose at the end: the watch works, and nothing before it called.
    assert found["asked"] == ["203.0.113.9", "example.org", "('203.0.113.9', 80)"]


def test_telemetry_is_off() -> None:
    assert yaml.safe_load((PROJECT / "dagster.yaml").read_text())["telemetry"] == {"enabled": False}
    assert "export HF_HUB_DISABLE_TELEMETRY ?= 1" in (PROJECT / "Makefile").read_text()


# Who may listen


def test_servers_listen_on_this_machine_only() -> None:
    """The Dagster UI by nothing else; the desk, which is for people outside, by an address that its operator names."""
    hosts = {
        str(path.relative_to(PROJECT)): found
        for path in SOURCES
        if (found := re.findall(r'(?<![\w.])host=("[^"]*"|\w+)', path.read_text(encoding="utf-8")))
    }
    assert hosts.pop("resources/tools/dagster_private.py") == ['"127.0.0.1"']
    assert hosts == {"crowd_assets/desk/serving.py": ["host"]}
    host = next(option for option in typer.main.get_command(app).commands["serve"].params if option.name == "host")
    assert host.default == "127.0.0.1"
    commands = [line for line in (PROJECT / "Makefile").read_text().splitlines() if line.startswith("\t")]
    servers = [line for line in commands if re.search(r"dagster dev|dagster-webserver|http\.server|uvicorn", line)]
    assert all("-h 127.0.0.1" in line for line in servers)


def test_a_name_that_a_stranger_made_lead_here_is_refused(tmp_path: Path) -> None:
    """A page of a browser may ask this machine by any name that its owner points here (DNS rebinding)."""
    settings = CrowdSettings(home=str(tmp_path))
    page = Path(quality_page(settings))
    page.parent.mkdir()
    page.write_text("figures")
    with QualityServer(settings, build_resources(settings).data_quality, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            own = Request(server.page_url, headers={"Host": f"localhost:{server.server_port}"})
            assert urlopen(own).read() == b"figures"
            with pytest.raises(HTTPError) as refused:
                urlopen(Request(server.page_url, headers={"Host": "evil.example"}))
            assert refused.value.code == 421
        finally:
            server.shutdown()
            thread.join()


# Secrets


class Echo(BaseHTTPRequestHandler):
    """A server that answers with what it was sent."""

    def do_GET(self) -> None:
        self.send_response(500)
        self.end_headers()
        self.wfile.write(str(self.headers).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def holding(folder: Path, text: str) -> list[str]:
    """Files below a folder that hold a text, however they are packed."""
    found = []
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += json.dumps(pl.read_parquet(path).rows(), default=str).encode()
        elif path.suffix == ".duckdb":
            with duckdb.connect(str(path), read_only=True) as connection:
                for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
                    content += str(connection.execute(f"FROM {table}").fetchall()).encode()
        if text.encode() in content:
            found.append(str(path.relative_to(folder)))
    return found


def test_secrets_are_nowhere_but_in_the_environment(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    echo: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    key, token = f"{CANARY}-key", f"{CANARY}-token"
    monkeypatch.setenv("CROWD_PSEUDONYM_KEY", key)
    monkeypatch.setenv("CROWD_LABEL_STUDIO_TOKEN", token)
    monkeypatch.setenv("CROWD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CROWD_LABEL_STUDIO_URL", echo)
    settings = CrowdSettings.from_environment()
    resources = build_resources(settings)
    Path(resources.inbox.root).mkdir(parents=True)
    (tmp_path / "home" / "dagster").mkdir()
    event = {"kind": "demonstration", "contributor_id": "ann", "prompt": "p", "response": "r"}
    lines = [json.dumps(event | {"submitted_at": "2026-01-01T00:00:00Z"}), '{"contributor_id": "ann"']
    Path(resources.inbox.root, "f.jsonl").write_text("\n".join(lines))
    with caplog.at_level(logging.DEBUG), DagsterInstance.local_temp(str(tmp_path / "home" / "dagster")) as instance:
        assert materialize([raw_feedback], resources=resources.as_dict(), instance=instance).success
    quorum = nightly_quorum(settings.changed(quorum_contributors=1))
    round_, reason = RoundBook(resources.warehouse).claim(quorum, settings, datetime.now(UTC))
    assert round_ is not None, reason
    resources.warehouse.publish_snapshot()
    with pytest.raises(LabelStudioError, match="500") as refused:
        pull_judgements(resources.label_studio, resources.inbox, None)
    (tmp_path / "home" / "error.txt").write_text(str(refused.value))
    out, err = capfd.readouterr()
    (tmp_path / "home" / "log.txt").write_text(caplog.text + out + err)
    assert "Authorization" in str(refused.value)  # the server did give it back
    assert holding(tmp_path / "home", CANARY) == []
    assert holding(tmp_path / "home", "demonstration")  # it is looked for where things are
    with resources.warehouse.transaction() as connection:
        connection.execute("UPDATE rounds SET settings = $it", {"it": token})
    assert holding(tmp_path / "home", CANARY) == ["warehouse.duckdb"]


@pytest.mark.parametrize("variable", ["CROWD_LABEL_STUDIO_URL", "CROWD_MODELS", "CROWD_INBOX"])
def test_settings_take_no_credentials_and_do_not_repeat_them(variable: str) -> None:
    with pytest.raises(SettingError, match=variable) as refused:
        CrowdSettings.from_environment({variable: f"https://ann:{CANARY}@example.org/x"})
    assert CANARY not in str(refused.value)
