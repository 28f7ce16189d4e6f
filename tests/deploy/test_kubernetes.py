"""What Kubernetes is asked for: the pods of the manifests, of the chart's values and of a run, against its own schemas.

Belongs here: what Dagster's library and kubernetes-validate make of the values. Does not belong here: the chart's templates,
which only helm renders (see docs/deployment.md).
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterInvalidConfigError

from resources.tools.dagster_private import read_instance
from tests.deploy.test_files import DEPLOY, PROJECT, documents

pytestmark = pytest.mark.deploy
VALIDATE = PROJECT / ".venv-deploy" / "bin" / "kubernetes-validate"
VALUES = documents(DEPLOY / "helm" / "values.yaml")[0]
(DEPLOYMENT,) = VALUES["dagster-user-deployments"]["deployments"]


def complaints(resource: dict[str, Any], folder: Path) -> str:
    """What kubernetes-validate has against a resource; unknown fields count."""
    if not VALIDATE.exists():
        pytest.skip("make deploy-check installs kubernetes-validate")
    path = folder / "resource.yaml"
    path.write_text(yaml.safe_dump(resource))
    ran = subprocess.run([str(VALIDATE), "--strict", str(path)], capture_output=True, text=True, timeout=60)
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


def pod(spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "it"}, "spec": spec}


def pod_of(values: dict[str, Any]) -> dict[str, Any]:
    """The pod that a part of the values describes, as far as its fields are Kubernetes' own."""
    container = {"name": "it", "image": f"{values['image']['repository']}:{values['image']['tag']}"}
    container["imagePullPolicy"] = values["image"]["pullPolicy"]
    for name in ("resources", "securityContext", "volumeMounts", "livenessProbe", "readinessProbe"):
        if name in values:
            container[name] = (
                {k: v for k, v in values[name].items() if k != "enabled"} if "Probe" in name else values[name]
            )
    container["envFrom"] = [{"configMapRef": each} for each in values.get("envConfigMaps", [])]
    container["envFrom"] += [{"secretRef": each} for each in values.get("envSecrets", [])]
    return pod(
        {
            "containers": [container],
            "securityContext": values["podSecurityContext"],
            "volumes": values.get("volumes", []),
        }
    )


def test_a_wrong_field_is_seen(tmp_path: Path) -> None:
    wrong = {**VALUES["dagsterDaemon"], "podSecurityContext": {"runAsNobody": True}}
    assert "runAsNobody" in complaints(pod_of(wrong), tmp_path)


@pytest.mark.parametrize(
    "values", [DEPLOYMENT, VALUES["dagsterWebserver"], VALUES["dagsterDaemon"]], ids=["code", "webserver", "daemon"]
)
def test_the_values_are_pods_that_kubernetes_knows(values: dict[str, Any], tmp_path: Path) -> None:
    assert complaints(pod_of(values), tmp_path) == ""


def test_the_nodes_of_ray_are_pods_that_kubernetes_knows(tmp_path: Path) -> None:
    spec = documents(DEPLOY / "kubernetes" / "raycluster.yaml")[0]["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert complaints(pod(group["template"]["spec"]), tmp_path) == ""


def test_the_instance_that_the_chart_writes_is_one_that_dagster_reads(tmp_path: Path) -> None:
    """As templates/configmap-instance.yaml of the chart puts it together, in what our values decide."""
    daemon, retention = VALUES["dagsterDaemon"], VALUES["retention"]
    coordinator = daemon["runCoordinator"]
    limits = {snake(name): value for name, value in coordinator["config"]["queuedRunCoordinator"].items()}
    written = {
        "run_coordinator": {"module": "dagster.core.run_coordinator", "class": coordinator["type"], "config": limits},
        "run_monitoring": {snake(name): value for name, value in daemon["runMonitoring"].items()},
        "retention": {kind: {"purge_after_days": retention[kind]["purgeAfterDays"]} for kind in ("sensor", "schedule")},
        "telemetry": VALUES["telemetry"],
        **VALUES["additionalInstanceConfig"],
    }
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(written))
    settings = read_instance(tmp_path).settings
    assert settings["concurrency"]["runs"] == {"max_concurrent_runs": 2}
    written["run_coordinator"]["config"] = {"max_concurrent_runs": 2}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(written))
    with pytest.raises(DagsterInvalidConfigError, match="incompatible"):
        read_instance(tmp_path)


def snake(name: str) -> str:
    return re.sub("([A-Z])", lambda match: f"_{match[1].lower()}", name)


def test_a_run_is_a_job_that_kubernetes_knows(tmp_path: Path) -> None:
    """The run launcher and the container context that the chart writes from the values, and the job that dagster-k8s makes."""
    pytest.importorskip("dagster_k8s")
    import kubernetes
    from dagster._config import process_config
    from dagster._config.field import resolve_to_config_type
    from dagster_k8s import K8sRunLauncher
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import construct_dagster_k8s_job

    ours = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    launcher = {
        "instance_config_map": "crowd-dagster-instance",
        "postgres_password_secret": VALUES["global"]["postgresqlSecretName"],
        "dagster_home": "/opt/dagster/dagster_home",
        "service_account_name": "crowd-dagster",
        "run_k8s_config": {snake(name): value for name, value in ours["runK8sConfig"].items()},
        "security_context": ours["securityContext"],
        "image_pull_policy": ours["imagePullPolicy"],
        "load_incluster_config": False,
    }
    checked = process_config(resolve_to_config_type(K8sRunLauncher.config_type()), launcher)
    assert checked.success, checked.errors
    context = K8sContainerContext.create_from_config(
        {
            "k8s": {
                "env_config_maps": [each["name"] for each in DEPLOYMENT["envConfigMaps"]],
                "env_secrets": [each["name"] for each in DEPLOYMENT["envSecrets"]],
                "volumes": DEPLOYMENT["volumes"],
                "volume_mounts": DEPLOYMENT["volumeMounts"],
                "resources": DEPLOYMENT["resources"],
                "namespace": "crowd",
                "run_k8s_config": launcher["run_k8s_config"],
                "security_context": launcher["security_context"],
            }
        }
    )
    nowhere = {"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}}
    here = {"name": "here", "context": {"cluster": "nowhere", "user": "nobody"}}
    kubeconfig = {
        "clusters": [nowhere],
        "contexts": [here],
        "current-context": "here",
        "users": [{"name": "nobody", "user": {}}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(kubeconfig))
    run_launcher = K8sRunLauncher(**launcher, kubeconfig_file=str(tmp_path / "config"))
    configuration = context.get_k8s_job_config(
        job_image=f"{DEPLOYMENT['image']['repository']}:{DEPLOYMENT['image']['tag']}", run_launcher=run_launcher
    )
    job = construct_dagster_k8s_job(
        configuration, ["dagster", "api", "execute_run", "{}"], "run", context.run_k8s_config, component="run_worker"
    )
    resource = kubernetes.client.ApiClient().sanitize_for_serialization(job)
    assert complaints(resource, tmp_path) == ""
    made = resource["spec"]["template"]["spec"]
    assert made["securityContext"]["runAsUser"] == 10001
    assert resource["spec"]["backoffLimit"] == 0
    (container,) = made["containers"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert {"crowd-settings", "crowd-secrets"} <= {
        name for source in container["envFrom"] for name in re.findall(r'"name": "([^"]+)"', json.dumps(source))
    }
    assert "/var/lib/crowd" in {mount["mountPath"] for mount in container["volumeMounts"]}
    policy = documents(DEPLOY / "kubernetes" / "platform.yaml")[2]
    admitted = [source["podSelector"]["matchLabels"] for source in policy["spec"]["ingress"][0]["from"]]
    labels = resource["spec"]["template"]["metadata"]["labels"]
    assert any(each.items() <= labels.items() for each in admitted)
