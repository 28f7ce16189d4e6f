"""What deploy/ says of itself is so: settings exist, servers bind to loopback, images are pinned, secrets are elsewhere.

Belongs here: what reading the files can tell, in CI. Does not belong here: what needs their tools or servers (tests/deploy).
"""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from resources.settings.fields import ENVIRONMENT_PREFIX, NOT_SETTINGS
from resources.settings.resource import CrowdSettings
from resources.tools.dagster_private import read_instance
from tests import PROJECT

DEPLOY = PROJECT / "deploy"
NOT_OURS = {"secrets", "__pycache__"}
FILES = sorted(
    path for path in DEPLOY.rglob("*") if path.is_file() and not NOT_OURS & set(path.relative_to(DEPLOY).parts)
)
YAML = [path for path in FILES if path.suffix == ".yaml"]
LOOPBACK = "127.0.0.1"


@cache
def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def compose() -> dict[str, Any]:
    return dict(documents(DEPLOY / "compose.yaml")[0])


def interpolated(text: str, **environment: str) -> str:
    """``text`` with ``${NAME:-default}`` filled in as compose does."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: environment.get(match[1]) or match[2], text)


def lines(*paths: Path) -> Iterator[tuple[str, str]]:
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield f"{path.relative_to(PROJECT)}:{number}", line


@pytest.mark.parametrize("path", YAML, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_yaml_parses(path: Path) -> None:
    assert documents(path)


# Settings


def settings_named(text: str) -> set[str]:
    return set(re.findall(rf"\b{ENVIRONMENT_PREFIX}[A-Z0-9_]+\b", text))


def test_settings_that_are_named_exist() -> None:
    known = {f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in CrowdSettings.model_fields} | NOT_SETTINGS
    named = {name for path in FILES for name in settings_named(path.read_text(encoding="utf-8"))}
    assert named
    assert named - known == set()


def test_settings_have_values_that_they_can_have() -> None:
    everywhere = [compose()["x-settings"], documents(DEPLOY / "kubernetes" / "platform.yaml")[0]["data"]]
    for environment in everywhere:
        assert CrowdSettings.from_environment(environment).home == environment["CROWD_HOME"]
    assert set(everywhere[0]) == set(everywhere[1])


def test_the_example_has_what_compose_asks_for() -> None:
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    given = re.findall(r"^(\w+)=", (DEPLOY / "example.env").read_text(), flags=re.MULTILINE)
    assert set(given) == asked | {"COMPOSE_PROFILES"}


# Network


def published(services: dict[str, Any]) -> dict[str, list[str]]:
    return {name: [interpolated(port) for port in each["ports"]] for name, each in services.items() if "ports" in each}


def exposed(services: dict[str, Any]) -> list[str]:
    """Ports that other machines reach."""
    return [port for ports in published(services).values() for port in ports if not port.startswith(f"{LOOPBACK}:")]


def test_ports_are_published_on_loopback_alone() -> None:
    services = compose()["services"]
    assert set(published(services)) == {"proxy", "s3"}
    assert exposed(services) == []
    assert exposed({"web": {"ports": ["3000:3000"]}}) == ["3000:3000"]
    assert exposed({"web": {"ports": ["${LISTEN:-0.0.0.0}:80:80"]}}) == ["0.0.0.0:80:80"]


def test_only_the_proxy_reaches_servers_without_users() -> None:
    services = compose()["services"]
    webserver = services["webserver"]
    assert webserver["command"][:3] == ["dagster-webserver", "--host", LOOPBACK]
    for name in ("webserver", "quality", "oauth2"):
        assert services[name]["network_mode"] == "service:proxy"
    assert services["proxy"]["networks"] == ["inside", "outside"]
    assert compose()["networks"]["inside"] == {"internal": True}
    for name in ("postgres", "daemon", "ray-head"):
        assert services[name]["networks"] == ["inside"]
    values = documents(DEPLOY / "helm" / "values.yaml")[0]
    assert values["dagsterWebserver"]["service"]["type"] == "ClusterIP"
    assert values["ingress"]["enabled"] is False


# Images


def images() -> set[str]:
    """Every image that deploy/ runs or builds on, as name:tag."""
    found = {line.split()[1] for _, line in lines(DEPLOY / "Dockerfile") if line.startswith("FROM ")}

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(image := node.get("image"), str):
                found.add(interpolated(image))
            elif isinstance(image, dict):
                found.add(f"{image['repository']}:{image.get('tag', '')}")
            node = list(node.values())
        if isinstance(node, list):
            for each in node:
                walk(each)

    for path in YAML:
        walk(documents(path))
    return found


def unpinned(names: set[str]) -> set[str]:
    """Images whose tag moves: none, ``latest``, or a name without a number."""
    return {name for name in names if not re.search(r"\d+\.\d+", name.rpartition("/")[2].partition(":")[2])}


def test_images_are_pinned() -> None:
    assert len(images()) >= 7
    assert unpinned(images()) == set()
    assert unpinned({"postgres", "postgres:latest", "registry:5000/x", "postgres:17.6"}) == {
        "postgres",
        "postgres:latest",
        "registry:5000/x",
    }


def test_versions_are_those_of_the_pins() -> None:
    pins = dict(line.split("==") for line in (PROJECT / "constraints.txt").read_text().splitlines())
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    ours = {name for name in images() if "crowd-rounds" in name}
    assert {name.rpartition(":")[2] for name in ours} == {version}
    assert f"--version {pins['dagster']} " in (DEPLOY / "helm" / "values.yaml").read_text()
    assert documents(DEPLOY / "kubernetes" / "raycluster.yaml")[0]["spec"]["rayVersion"] == pins["ray"]


# Secrets


# Runs of letters and digits that nobody types.
RANDOM = re.compile(r"(?=[^\s]*\d)[0-9a-fA-F]{20,}|(?=[A-Za-z0-9+/]*\d)[A-Za-z0-9+/]{32,}")
SECRET = re.compile(r"(PASSWORD|SECRET|TOKEN|KEY)(?:_ID|_FILE|_PATH)?\s*[:=]\s*['\"]?(?!/run/secrets/|$|\{)(\S+)")


def secrets_in(text: str) -> list[str]:
    """What in a line looks like the value of a secret: in an address, random, or given to a name of one."""
    return [
        *re.findall(r"://[^/\s@:]+:([^/\s@]+)@", text),
        *(match[0] for match in RANDOM.finditer(text)),
        *(match[2] for match in SECRET.finditer(text)),
    ]


def test_no_secret_is_in_a_file() -> None:
    # Scripts give such names to what they read from files.
    files = [path for path in FILES if path.suffix != ".sh"]
    assert {place: found for place, line in lines(*files) if (found := secrets_in(line))} == {}
    assert secrets_in("postgresql://crowd:hunter2@postgres/crowd") == ["hunter2"]
    assert secrets_in("POSTGRES_PASSWORD: hunter2") == ["hunter2"]
    assert secrets_in("token: 8c1f0e5ad2b94c77a3e6") == ["8c1f0e5ad2b94c77a3e6"]
    assert secrets_in("POSTGRES_PASSWORD_FILE: /run/secrets/POSTGRES_PASSWORD") == []


def test_secrets_are_files_that_the_script_makes_and_git_ignores(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    command = ["sh", str(DEPLOY / "make_secrets.sh"), str(folder)]
    subprocess.run(command, check=True, timeout=60)
    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {Path(secret["file"]).name for secret in compose()["secrets"].values()} <= set(made)
    assert folder.stat().st_mode & 0o077 == 0
    subprocess.run(command, check=True, timeout=60)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == made
    for path in ("deploy/secrets/PGPASSWORD", "deploy/.env", "deploy/settings.env", "deploy/oauth2.env"):
        subprocess.run(["git", "check-ignore", "--quiet", path], cwd=PROJECT, check=True, timeout=10)


def test_secrets_reach_a_command_as_variables(tmp_path: Path) -> None:
    (tmp_path / "PGPASSWORD").write_text("a b'c\n")
    (tmp_path / "tls.key").write_text("key")
    (tmp_path / "kubernetes.io").mkdir()
    ran = subprocess.run(
        [str(DEPLOY / "with_secrets.sh"), "env"],
        env={"SECRETS": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    assert "PGPASSWORD=a b'c" in ran.stdout.splitlines()
    assert "tls" not in ran.stdout


def test_every_service_has_a_health_check_or_ends() -> None:
    services = compose()["services"]
    checked = {name for name, service in services.items() if "test" in service.get("healthcheck", {})}
    # oauth2-proxy's image holds that one program; the bucket's maker ends.
    assert set(services) - checked == {"bucket", "oauth2"}
    secrets = {name for service in services.values() for name in service.get("secrets", [])}
    assert secrets == set(compose()["secrets"])


# The image


def copied() -> list[tuple[str, list[str]]]:
    """What the Dockerfile copies from the repository: each COPY's sources."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    copies = [line.split()[1:] for line in text.splitlines() if line.startswith("COPY ")]
    return [
        (words[-1], [word for word in words[:-1] if not word.startswith("--")])
        for words in copies
        if "--from=build" not in words
    ]


def test_the_image_holds_what_the_package_needs() -> None:
    sources = {source for _, each in copied() for source in each}
    allowed = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sources == allowed
    assert all((PROJECT / source).exists() for source in sources)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    packages = {pattern.rstrip("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert packages | {project["project"]["readme"], "pyproject.toml", "constraints.txt"} <= sources
    extras = re.search(r"^ARG EXTRAS=(.*)$", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(project["project"]["optional-dependencies"])


def test_data_files_of_the_packages_are_package_data() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    kinds = {pattern.lstrip("*") for pattern in project["tool"]["setuptools"]["package-data"]["*"]} | {".py", ".pyc"}
    files = [path for name in ("crowd_assets", "resources", "sensors") for path in (PROJECT / name).rglob("*")]
    assert {path.suffix for path in files if path.is_file()} - kinds == set()


def test_the_image_runs_as_nobody_in_particular() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    user = re.findall(r"^USER (\d+):(\d+)$", text, flags=re.MULTILINE)[-1]
    assert user == ("10001", "10001")
    values = documents(DEPLOY / "helm" / "values.yaml")[0]
    heads = documents(DEPLOY / "kubernetes" / "raycluster.yaml")[0]["spec"]
    contexts = [
        values["dagsterWebserver"]["podSecurityContext"],
        values["dagsterDaemon"]["podSecurityContext"],
        values["dagster-user-deployments"]["deployments"][0]["podSecurityContext"],
        heads["headGroupSpec"]["template"]["spec"]["securityContext"],
        *(group["template"]["spec"]["securityContext"] for group in heads["workerGroupSpecs"]),
    ]
    assert all(each["runAsNonRoot"] and each["runAsUser"] == 10001 for each in contexts)


# Dagster


def test_the_instance_is_what_dagster_reads(tmp_path: Path) -> None:
    instance = read_instance(tmp_path, DEPLOY)
    storage = instance.storage_data
    assert storage is not None
    assert (storage.module_name, storage.class_name) == ("dagster_postgres", "DagsterPostgresStorage")
    one = documents(PROJECT / "dagster.yaml")[0]
    cluster = documents(DEPLOY / "dagster.yaml")[0]
    for name in ("telemetry", "nux", "retention", "concurrency", "run_monitoring"):
        assert cluster[name] == one[name], name
    values = documents(DEPLOY / "helm" / "values.yaml")[0]
    for kind in ("sensor", "schedule"):
        days = values["retention"][kind]["purgeAfterDays"]
        assert {name: days[name] for name in ("skipped", "failure", "success")} == one["retention"][kind][
            "purge_after_days"
        ]
    daemon = values["dagsterDaemon"]
    assert (
        daemon["runMonitoring"]["freeSlotsAfterRunEndSeconds"]
        == one["run_monitoring"]["free_slots_after_run_end_seconds"]
    )
    assert daemon["runCoordinator"]["config"]["queuedRunCoordinator"] == {}
    assert values["additionalInstanceConfig"]["concurrency"] == one["concurrency"]


def test_the_code_location_keeps_its_name() -> None:
    one, _ = documents(PROJECT / "workspace.yaml")[0]["load_from"]
    name = one["python_module"]["location_name"]
    (cluster,) = documents(DEPLOY / "workspace.yaml")[0]["load_from"]
    server = cluster["grpc_server"]
    assert server["location_name"] == name
    command = compose()["services"][server["host"]]["command"]
    assert command[command.index("--location-name") + 1] == name
    assert command[command.index("--port") + 1] == str(server["port"])
    values = documents(DEPLOY / "helm" / "values.yaml")[0]
    (served,) = values["dagsterWebserver"]["workspace"]["servers"]
    (deployed,) = values["dagster-user-deployments"]["deployments"]
    assert (served["host"], served["port"], served["name"]) == (deployed["name"], deployed["port"], name)
