"""Pods that Ray's nodes run in, as Kubernetes reads them."""

import shlex
from collections.abc import Mapping
from typing import Any, Final

from cluster.deploy.commands import SCRATCH, WEIGHTS, fetch_commands
from cluster.deploy.options import DeployOptions, MachineOptions
from cluster.deploy.sizes import Group, cache_gb
from pipeline.connect import WORKERS_STAY

Doc = dict[str, Any]
USER: Final = 1000
"""User and group of the image."""
_POD_RIGHTS: Final = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,  # volumes are writable for the user
    "seccompProfile": {"type": "RuntimeDefault"},
}
RIGHTS: Final = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
"""Of every container."""
GPU_TAINT: Final = "nvidia.com/gpu"


def metadata(options: DeployOptions, name: str | None = None) -> Doc:
    """Name, namespace and labels of an object."""
    return {"name": name or options.name, "namespace": options.namespace, "labels": labels(options)}


def labels(options: DeployOptions) -> Doc:
    """What objects and pods are found by."""
    return {"app.kubernetes.io/name": "dubline", "app.kubernetes.io/instance": options.name}


def head_pod(options: DeployOptions, names: list[str]) -> Doc:
    """The head: Ray's services and the driver, which reads weights to know what films depend on them."""
    head = options.cluster.head
    container = _ray("ray-head", options, head.cpus, head.memory_gib or 8, 0, head.scratch_gib)
    container["ports"] = [
        {"containerPort": 6379, "name": "gcs-server"},
        {"containerPort": 8265, "name": "dashboard"},
        {"containerPort": 10001, "name": "client"},
        {"containerPort": 8080, "name": "metrics"},
    ]
    return _pod(options, head, container, names)


def worker_pod(options: DeployOptions, group: Group, names: list[str]) -> Doc:
    """One machine of a group. When it is to go it takes no new work, and what it holds has time to end."""
    container = _ray("ray-worker", options, group.cpus, group.memory_gib, group.gpus, group.scratch_gib)
    container["ports"] = [{"containerPort": 8080, "name": "metrics"}]
    container["lifecycle"] = {"preStop": {"exec": {"command": ["/bin/bash", "-c", drain(options.cluster.notice_s)]}}}
    container["volumeMounts"].append({"name": "ray", "mountPath": "/tmp/ray"})  # noqa: S108 - a volume of the pod
    pod = _pod(options, group.options, container, names)
    pod["spec"]["volumes"].append({"name": "ray", "emptyDir": {}})  # logs, and objects that do not fit memory
    pod["spec"]["terminationGracePeriodSeconds"] = options.cluster.notice_s
    return pod


def drain(notice_s: int) -> str:
    """Shell line that tells Ray that this machine goes, and waits while its work ends.

    Where nobody listens any more, as at a cluster's own end, it does not wait.
    """
    asking = min(20, notice_s // 3)
    left = notice_s - asking - 2  # for processes to end before they are killed
    request = [
        "--reason=DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message=notice",
        f"--deadline-remaining-seconds={left}",
    ]
    return f"timeout {asking} ray drain-node {shlex.join(request)} && sleep {left}"


def environment(options: DeployOptions, scratch_gib: int) -> dict[str, str]:
    """Environment variables of Ray's processes: where things lie on a machine, and how its raylet is set.

    Ray reads `RAY_<name>` for every one of its own settings, on each machine for itself.
    """
    return {
        **{f"RAY_{name}": str(value) for name, value in WORKERS_STAY.items()},
        "TMPDIR": SCRATCH,
        "RAY_TMPDIR": "/tmp",  # noqa: S108 - where KubeRay's own containers look for Ray's files
        "DUBLINE_CACHE_GB": str(cache_gb(scratch_gib)),
        "DUBLINE_WEIGHTS": options.weights.folder or WEIGHTS,
        **options.env,
    }


def env_list(values: Mapping[str, str]) -> list[Doc]:
    """As containers want them."""
    return [{"name": name, "value": value} for name, value in values.items()]


def resources(cpu: str, memory: str, **more: str | int) -> Doc:
    """Requests that are limits: nothing on the machine takes what was counted on."""
    asked = {"cpu": cpu, "memory": memory, **more}
    return {"requests": dict(asked), "limits": dict(asked)}


def _ray(name: str, options: DeployOptions, cpus: int, memory_gib: int, gpus: int, scratch_gib: int) -> Doc:
    gpu: dict[str, str | int] = {"nvidia.com/gpu": gpus} if gpus else {}
    container: Doc = {
        "name": name,
        "image": options.image.name,
        "imagePullPolicy": options.image.pull_policy,
        "env": env_list(environment(options, scratch_gib)),
        "resources": resources(str(cpus), f"{memory_gib}Gi", **gpu),
        "volumeMounts": [
            {"name": "scratch", "mountPath": SCRATCH},
            {"name": "weights", "mountPath": WEIGHTS, "readOnly": True},
        ],
        "securityContext": dict(RIGHTS),
    }
    if options.access.env_secret:
        container["envFrom"] = [{"secretRef": {"name": options.access.env_secret}}]
    return container


def _pod(options: DeployOptions, machine: MachineOptions, container: Doc, names: list[str]) -> Doc:
    claim = options.weights.claim
    held: Doc = {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}} if claim else {"emptyDir": {}}
    spec: Doc = {
        **pod_basics(options),
        "containers": [container],
        "volumes": [
            {"name": "scratch", "emptyDir": {"sizeLimit": f"{machine.scratch_gib}Gi"}},
            {"name": "weights", **held},
        ],
    }
    if names:
        spec["initContainers"] = [_fetch(options, n, line) for n, line in enumerate(fetch_commands(options, names))]
    if machine.node_selector:
        spec["nodeSelector"] = dict(machine.node_selector)
    taints = [*machine.tolerations, *([GPU_TAINT] if "nvidia.com/gpu" in container["resources"]["limits"] else [])]
    if taints:
        spec["tolerations"] = [{"key": key, "operator": "Exists"} for key in dict.fromkeys(taints)]
    return {"metadata": {"labels": pod_labels(options)}, "spec": spec}


def pod_basics(options: DeployOptions) -> Doc:
    """What every pod has: rights, and that it is not started again in place (a lost Ray node comes back as a new
    one)."""
    basics: Doc = {
        "serviceAccountName": options.access.service_account,
        "restartPolicy": "Never",
        "securityContext": dict(_POD_RIGHTS),
    }
    if options.image.pull_secrets:
        basics["imagePullSecrets"] = [{"name": name} for name in options.image.pull_secrets]
    return basics


def pod_labels(options: DeployOptions) -> Doc:
    """Labels of a pod; Azure asks for one of its own."""
    azure = options.access.cloud == "azure" and options.access.identity
    return {**labels(options), **({"azure.workload.identity/use": "true"} if azure else {})}


def _fetch(options: DeployOptions, number: int, command: list[str]) -> Doc:
    return {
        "name": f"weights-{number}",
        "image": options.image.name,
        "imagePullPolicy": options.image.pull_policy,
        "command": command,
        "env": env_list({"DUBLINE_WEIGHTS": WEIGHTS, **options.env}),
        "resources": resources("500m", "1Gi"),
        "volumeMounts": [{"name": "weights", "mountPath": WEIGHTS}],
        "securityContext": dict(RIGHTS),
    }
