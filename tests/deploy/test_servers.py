"""What the containers of deploy/compose.yaml run, run here as processes: on PostgreSQL and an S3 server, on loopback.

Belongs here: commands, health checks, the Dagster instance and the scripts, as the files have them. Does not belong here:
rounds on these servers.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.test_files import DEPLOY, PROJECT, compose, copied
from tests.e2e.conftest import Worker, free_port, wait_for

pytestmark = pytest.mark.deploy
BIN = Path(sys.executable).parent
WITH_SECRETS = str(DEPLOY / "with_secrets.sh")


def argv(service: str, key: str = "command", **replaced: str) -> list[str]:
    """A service's command, or its health check, with programs and paths of this machine in place of the image's."""
    node = compose()["services"][service]
    words = list(node["command"] if key == "command" else node["healthcheck"]["test"][1:])
    replaced |= {"/opt/crowd/with_secrets.sh": WITH_SECRETS}
    for there, here in replaced.items():
        words = [word.replace(there, here) for word in words]
    return words


def environment(secrets: Path, **more: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("CROWD_", "AWS_", "DAGSTER_", "PG"))
    }
    return {**kept, "PATH": f"{BIN}:{os.environ['PATH']}", "SECRETS": str(secrets), "NO_PROXY": "*", **more}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy") / "secrets"
    subprocess.run(["sh", str(DEPLOY / "make_secrets.sh"), str(folder)], check=True)
    return folder


# PostgreSQL and Dagster


@pytest.fixture(scope="module")
def postgres(secrets: Path) -> Iterator[int]:
    """Port of a PostgreSQL server on which the image's first start has run deploy/postgres/databases.sh."""
    if shutil.which("pg_ctl") is None or shutil.which("initdb") is None:
        pytest.skip("PostgreSQL is not installed")
    as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # Below /tmp, as a socket's path is short and the server's account must reach it.
    folder, port = Path(tempfile.mkdtemp(prefix="crowd-deploy-")), free_port()
    try:
        if as_postgres:
            shutil.chown(folder, "postgres")
        (folder / "password").write_text((secrets / "POSTGRES_PASSWORD").read_text())
        data = str(folder / "data")
        initdb = [
            "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "--auth=scram-sha-256",
            f"--pwfile={folder}/password",
            "--no-sync",
        ]
        subprocess.run([*as_postgres, *initdb], check=True, stdout=subprocess.DEVNULL, cwd=folder)
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        log = str(folder / "log")
        subprocess.run([*as_postgres, "pg_ctl", "-D", data, "-o", options, "-l", log, "-w", "start"], check=True, stdout=subprocess.DEVNULL, cwd=folder)  # fmt: skip
        try:
            superuser = {
                "PGHOST": "127.0.0.1",
                "PGPORT": str(port),
                "PGPASSWORD": (secrets / "POSTGRES_PASSWORD").read_text(),
            }
            script = str(DEPLOY / "postgres" / "databases.sh")
            subprocess.run([script], env=environment(secrets, POSTGRES_USER="postgres", **superuser), check=True, stdout=subprocess.DEVNULL)  # fmt: skip
            yield port
        finally:
            subprocess.run([*as_postgres, "pg_ctl", "-D", data, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL, cwd=folder)  # fmt: skip
    finally:
        shutil.rmtree(folder)


def connects(port: int, user: str, database: str, password: str) -> bool:
    import psycopg

    try:
        with psycopg.connect(host="127.0.0.1", port=port, user=user, dbname=database, password=password):
            return True
    except psycopg.OperationalError:
        return False


def test_each_database_has_an_account_that_cannot_enter_the_other(postgres: int, secrets: Path) -> None:
    dagster, crowd = ((secrets / name).read_text() for name in ("DAGSTER_PG_PASSWORD", "PGPASSWORD"))
    assert connects(postgres, "dagster", "dagster", dagster)
    assert connects(postgres, "crowd", "crowd", crowd)
    assert not connects(postgres, "dagster", "crowd", dagster)
    assert not connects(postgres, "crowd", "dagster", crowd)
    assert not connects(postgres, "crowd", "crowd", "wrong")


@pytest.fixture(scope="module")
def box(postgres: int, secrets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Code server, daemon and webserver by compose's commands, on deploy/dagster.yaml and deploy/workspace.yaml."""
    folder = tmp_path_factory.mktemp("box")
    code, web = free_port(), free_port()
    instance = (DEPLOY / "dagster.yaml").read_text().replace("/var/lib/dagster", str(folder / "dagster"))
    instance = instance.replace("hostname: postgres", "hostname: 127.0.0.1").replace("port: 5432", f"port: {postgres}")
    (folder / "dagster.yaml").write_text(instance)
    workspace = (
        (DEPLOY / "workspace.yaml").read_text().replace("host: code", "host: 127.0.0.1").replace("4266", str(code))
    )
    (folder / "workspace.yaml").write_text(workspace)
    home = {"DAGSTER_HOME": str(folder), "CROWD_HOME": str(folder / "home")}
    given = environment(secrets, **home)
    here = {"/opt/dagster/dagster_home": str(folder), "4266": str(code), "3000": str(web), "0.0.0.0": "127.0.0.1"}
    workers = {
        name: Worker([WITH_SECRETS, *argv(name, **here)], folder, given, folder / f"{name}.log")
        for name in ("code", "daemon", "webserver")
    }

    def healthy(name: str) -> bool:
        command = [WITH_SECRETS, *argv(name, "healthcheck", **here)]
        return subprocess.run(command, env=given, cwd=folder, capture_output=True, timeout=60).returncode == 0

    try:
        for name, worker in workers.items():
            wait_for(f"{name} is healthy", lambda name=name: healthy(name), seconds=60, explain=worker.tail)
        yield {"web": f"http://127.0.0.1:{web}", "healthy": healthy, "workers": workers}
    finally:
        for worker in workers.values():
            worker.stop()


def graphql(box: dict[str, Any], query: str) -> Any:
    request = urllib.request.Request(
        f"{box['web']}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        pytest.fail(f"{error}: {error.read().decode()}\n{box['workers']['webserver'].tail()}")


def test_the_webserver_serves_the_code_location(box: dict[str, Any]) -> None:
    entries = graphql(
        box,
        "{workspaceOrError {... on Workspace {locationEntries {name loadStatus locationOrLoadError {__typename}}}}}",
    )
    assert entries["workspaceOrError"]["locationEntries"] == [
        {"name": "crowd_assets", "loadStatus": "LOADED", "locationOrLoadError": {"__typename": "RepositoryLocation"}}
    ]


def test_the_daemon_lives_and_its_sensors_tick_into_postgres(box: dict[str, Any], postgres: int, secrets: Path) -> None:
    import psycopg

    def ticks() -> int:
        password = (secrets / "DAGSTER_PG_PASSWORD").read_text()
        with psycopg.connect(
            host="127.0.0.1", port=postgres, user="dagster", dbname="dagster", password=password
        ) as database:
            row = database.execute("SELECT count(*) FROM job_ticks").fetchone()
            return int(row[0]) if row else 0

    wait_for("sensors tick", ticks, seconds=60, explain=box["workers"]["daemon"].tail)
    statuses = graphql(box, "{instance {daemonHealth {allDaemonStatuses {daemonType required healthy}}}}")
    needed = [each for each in statuses["instance"]["daemonHealth"]["allDaemonStatuses"] if each["required"]]
    assert {"SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR", "MONITORING"} <= {each["daemonType"] for each in needed}
    assert all(each["healthy"] for each in needed)


def test_health_checks_see_that_a_server_is_gone(box: dict[str, Any]) -> None:
    box["workers"]["webserver"].stop()
    assert not box["healthy"]("webserver")
    assert box["healthy"]("code")


# S3


@pytest.fixture(scope="module")
def s3(secrets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("moto")
    port, folder = free_port(), tmp_path_factory.mktemp("s3")
    server = Worker(
        [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)], folder, environment(secrets), folder / "log"
    )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            return False
        return True

    try:
        wait_for("moto answers", answers, seconds=30, explain=server.tail)
        yield url
    finally:
        server.stop()


def test_the_bucket_is_made_once_and_keeps_versions(s3: str, secrets: Path) -> None:
    from botocore.session import get_session

    given = environment(secrets, **{**compose()["services"]["bucket"]["environment"], "AWS_ENDPOINT_URL": s3})
    command = [WITH_SECRETS, sys.executable, str(DEPLOY / "make_bucket.py")]
    for _ in range(2):
        ran = subprocess.run(command, env=given, capture_output=True, text=True, check=True, timeout=60)
        assert ran.stdout == "bucket crowd: there, with versions\n"
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    client = get_session().create_client("s3", endpoint_url=s3, **keys)
    assert [bucket["Name"] for bucket in client.list_buckets()["Buckets"]] == ["crowd"]
    assert client.get_bucket_versioning(Bucket="crowd")["Status"] == "Enabled"
    wrong = subprocess.run(
        command, env={**given, "CROWD_FILES": "crowd/files"}, capture_output=True, text=True, timeout=60
    )
    assert wrong.returncode == 1
    assert "write s3://bucket/prefix" in wrong.stderr


# The image


def test_the_wheel_that_the_image_installs_is_whole(tmp_path: Path) -> None:
    for _, sources in copied():
        for source in sources:
            if not source.startswith("deploy/"):
                here, there = PROJECT / source, tmp_path / "src" / source
                there.parent.mkdir(parents=True, exist_ok=True)
                if here.is_dir():
                    shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(here, there)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), "."]  # fmt: skip
    subprocess.run(command, cwd=tmp_path / "src", check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    tracked = subprocess.run(
        ["git", "ls-files", "crowd_assets", "resources", "sensors"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert set(tracked) - set(zipfile.ZipFile(wheel).namelist()) == set()
