"""KubeRay's RayJob, RayCronJob and RayCluster; Kubernetes' CronJob and service account."""

import importlib.metadata
import json
import shlex
from typing import Any, Final

from cluster.deploy.commands import run_command, submit_command
from cluster.deploy.options import AccessOptions, DeployOptions
from cluster.deploy.pods import (
    RIGHTS,
    Doc,
    env_list,
    head_pod,
    labels,
    metadata,
    pod_basics,
    pod_labels,
    resources,
    worker_pod,
)
from cluster.deploy.sizes import Group, groups, weight_names
from cluster.upload import DRIVER
from pipeline.config import Config

POOL: Final = "dub/pool"
"""Label of Ray's nodes: `cpu` or `gpu`."""
_READY_S: Final = 3600
"""Seconds until the machines are there and have their image and weights; then the try is over. GPUs can be slow."""
_KEPT_S: Final = 86400
"""Seconds that a finished job stays to be looked at: until the next night."""
_JOB_NAME: Final = "metadata.labels['batch.kubernetes.io/job-name']"
_TOKEN_KEY: Final = "auth_token"  # noqa: S105 - the name of a key: KubeRay looks for the token under it


def service_account(options: DeployOptions) -> Doc:
    """Whom pods are, and whose rights in the cloud they have."""
    access = options.access
    named = metadata(options, access.service_account)
    annotations = _identity(access)
    if annotations:
        named["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named}


def rayjob(options: DeployOptions, config: Config) -> Doc:
    """One night, on a cluster that is made for it and goes with it."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": metadata(options),
        "spec": {**_job_spec(options, config), "suspend": False},
    }


def raycronjob(options: DeployOptions, config: Config) -> Doc:
    """Every night, on a cluster of its own. It knows no concurrencyPolicy: `activeDeadlineSeconds` ends a night."""
    schedule = options.schedule
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCronJob",
        "metadata": metadata(options),
        "spec": {
            "schedule": schedule.cron,
            "timeZone": schedule.time_zone,
            "suspend": schedule.suspend,
            "jobTemplate": _job_spec(options, config),
        },
    }


def raycluster(options: DeployOptions, config: Config) -> Doc:
    """A cluster that stands, with as few workers as may be while nothing is submitted."""
    auth = {"mode": "token", "secretName": options.access.token_secret}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": metadata(options),
        "spec": {**_cluster(options, config, stands=True), "authOptions": auth},
    }


def cronjob(options: DeployOptions) -> Doc:
    """`dubline submit` to the standing cluster every night; its exit status is the job's own."""
    schedule, head = options.schedule, f"{options.name}-head-svc.{options.namespace}.svc"
    container: Doc = {
        "name": "submit",
        "image": options.image.name,
        "imagePullPolicy": options.image.pull_policy,
        "command": submit_command(options, f"http://{head}:8265", name="$(JOB_NAME)"),
        "env": [
            # A pod that takes a lost one's place finds the job under its name, and follows it.
            {"name": "JOB_NAME", "valueFrom": {"fieldRef": {"fieldPath": _JOB_NAME}}},
            *env_list({"RAY_AUTH_MODE": "token", **options.env}),
            {
                "name": "RAY_AUTH_TOKEN",
                "valueFrom": {"secretKeyRef": {"name": options.access.token_secret, "key": _TOKEN_KEY}},
            },
        ],
        "resources": resources("500m", "1Gi"),
        "securityContext": dict(RIGHTS),
    }
    pod = {"metadata": {"labels": pod_labels(options)}, "spec": {**pod_basics(options), "containers": [container]}}
    job = {
        # Tried again where the pod was lost or the cluster could not be reached (1). That every film failed (2), or
        # that somebody stopped the job (130), is an answer.
        "backoffLimit": options.job.retries,
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {"action": "FailJob", "onExitCodes": {"containerName": "submit", "operator": "In", "values": [2, 130]}},
            ]
        },
        "activeDeadlineSeconds": _seconds(options.job.hours),
        "ttlSecondsAfterFinished": _KEPT_S,
        "template": pod,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata(options),
        "spec": {
            "schedule": schedule.cron,
            "timeZone": schedule.time_zone,
            "suspend": schedule.suspend,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,  # a missed start is made up for within the hour, not in the morning
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 7,
            "jobTemplate": {"metadata": {"labels": labels(options)}, "spec": job},
        },
    }


def _job_spec(options: DeployOptions, config: Config) -> Doc:
    submitter: Doc = {
        "name": "ray-job-submitter",
        "image": options.image.name,
        "imagePullPolicy": options.image.pull_policy,
        "resources": resources("500m", "1Gi"),
        "securityContext": dict(RIGHTS),
    }
    return {
        "entrypoint": shlex.join(run_command(options)),
        "runtimeEnvYAML": json.dumps({"env_vars": DRIVER}),  # JSON is YAML
        "submissionMode": "K8sJobMode",
        "submitterPodTemplate": {
            "metadata": {"labels": pod_labels(options)},
            "spec": {**pod_basics(options), "containers": [submitter]},
        },
        "submitterConfig": {"backoffLimit": 2},  # a submitter that comes again finds the job and follows it
        "backoffLimit": options.job.retries,
        "activeDeadlineSeconds": _seconds(options.job.hours),
        "preRunningDeadlineSeconds": min(_READY_S, max(1, _seconds(options.job.hours) // 2)),
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 600,  # ten minutes to look at the cluster; the report is in the work folder
        # KubeRay makes the token.
        "rayClusterSpec": {**_cluster(options, config, stands=False), "authOptions": {"mode": "token"}},
    }


def _cluster(options: DeployOptions, config: Config, stands: bool) -> Doc:
    names = weight_names(options, config)
    return {
        "rayVersion": importlib.metadata.version("ray"),
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "version": "v2",  # drains machines before it takes them away
            "idleTimeoutSeconds": options.cluster.idle_s,
            "upscalingMode": "Default",
            "resources": resources("500m", "1Gi"),
            "securityContext": dict(RIGHTS),
        },
        "headGroupSpec": {
            # No stage lands on the head; only the driver and Ray's services do.
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104 - it asks for the token
            "template": head_pod(options, names),
        },
        "workerGroupSpecs": [_group(options, group, names) for group in groups(options, config, stands)],
    }


def _group(options: DeployOptions, group: Group, names: list[str]) -> Doc:
    started: dict[str, Any] = {"num-cpus": str(group.ray_cpus), "object-store-memory": str(group.store_bytes)}
    if group.gpus:
        started["num-gpus"] = str(group.gpus)
    return {
        "groupName": group.name,
        "replicas": group.most,
        "minReplicas": group.least,
        "maxReplicas": group.most,
        "labels": {POOL: group.name},
        "rayStartParams": started,
        "template": worker_pod(options, group, names),
    }


def _identity(access: AccessOptions) -> dict[str, str]:
    annotation = {
        "aws": "eks.amazonaws.com/role-arn",
        "gcp": "iam.gke.io/gcp-service-account",
        "azure": "azure.workload.identity/client-id",
    }
    return {annotation[access.cloud]: access.identity} if access.cloud != "none" and access.identity else {}


def _seconds(hours: float) -> int:
    return max(1, round(hours * 3600))
