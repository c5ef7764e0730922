"""The file of Ray's cluster launcher (`ray up`), for AWS and GCP."""

import shlex
from typing import Any, Final

from cluster.deploy.commands import HOME, SCRATCH, WEIGHTS, fetch_commands
from cluster.deploy.kubernetes import POOL
from cluster.deploy.options import DeployOptions, MachineOptions, WorkerOptions
from cluster.deploy.pods import Doc, environment
from cluster.deploy.sizes import groups, weight_names
from pipeline.config import Config
from pipeline.overrides import ConfigError

_TOKEN: Final = "/home/dubline/.ray/auth_token"  # noqa: S105 - a path, in the image's home
_SYSTEM_GIB: Final = 100
"""Of the disk for the machine's own system with NVIDIA's libraries, the container image and the weights."""
_AWS: Final = {
    0: {2: "m7i.large", 4: "m7i.xlarge", 8: "m7i.2xlarge", 16: "m7i.4xlarge", 32: "m7i.8xlarge"},
    1: {4: "g6.xlarge", 8: "g6.2xlarge", 16: "g6.4xlarge", 32: "g6.8xlarge"},
}
_GCP: Final = {
    0: {2: "n2-standard-2", 4: "n2-standard-4", 8: "n2-standard-8", 16: "n2-standard-16", 32: "n2-standard-32"},
    1: {4: "g2-standard-4", 8: "g2-standard-8", 16: "g2-standard-16", 32: "g2-standard-32"},
}
"""By GPUs, then cores: 4 GiB a core; one L4 of 24 GB. What else there is, `instance` names."""


def launcher(options: DeployOptions, config: Config) -> Doc:
    """The cluster file. Jobs go there by `ray attach`'s tunnel or from inside its network, by `dubline submit`.

    Raises ConfigError where no machine of the cloud is known with as many cores and GPUs, and without GCP's project.
    """
    cluster, made = options.cluster, groups(options, config, stands=True)
    names = weight_names(options, config)
    fetched = [shlex.join(line) for line in fetch_commands(options, names)]
    types: Doc = {"head": _node_type(options, cluster.head, {"CPU": 0}, {})}
    for group in made:
        given = {"CPU": group.ray_cpus, **({"GPU": group.gpus} if group.gpus else {})}
        types[group.name] = {
            **_node_type(options, group.options, given, {POOL: group.name}),
            "min_workers": group.least,
            "max_workers": group.most,
        }
    return {
        "cluster_name": options.name,
        "max_workers": sum(group.most for group in made),
        "upscaling_speed": float(max(group.most for group in made)),  # a night's machines are wanted at once
        "idle_timeout_minutes": cluster.idle_s / 60,
        "provider": _provider(options),
        "auth": {"ssh_user": options.launcher.ssh_user},
        "docker": {
            "image": options.image.name,
            "container_name": "dubline",
            "pull_before_run": options.image.pull_policy == "Always",
            # One for all machines: what fits the smallest disk among those that work.
            "run_options": _run_options(options, min(group.scratch_gib for group in made)),
        },
        "available_node_types": types,
        "head_node_type": "head",
        # `ray get-auth-token --generate` writes it here before `ray up`.
        "file_mounts": {_TOKEN: "~/.ray/auth_token"},
        "initialization_commands": [f"sudo install -d -o 1000 -g 1000 {SCRATCH} {WEIGHTS}"],
        "setup_commands": fetched,
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [
            "ray stop",
            "ray start --head --num-cpus=0 --port=6379 --dashboard-host=127.0.0.1 "
            "--autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": [
            "ray stop",
            # Ray's own object store, 30 % of the memory, is more than workers need (`Group.store_gib`).
            "ray start --address=$RAY_HEAD_IP:6379",
        ],
    }


def _run_options(options: DeployOptions, scratch_gib: int) -> list[str]:
    env = {
        "RAY_AUTH_MODE": "token",
        # Ray takes NVIDIA's runtime where there are GPUs, and that shows a container those that its environment names.
        "NVIDIA_VISIBLE_DEVICES": "all",
        **environment(options, scratch_gib),
    }
    return [
        *(f"--env {shlex.quote(f'{name}={value}')}" for name, value in env.items()),
        f"--volume {SCRATCH}:{SCRATCH}",
        f"--volume {WEIGHTS}:{WEIGHTS}",
        "--ulimit nofile=65536:65536",
        f"--workdir {HOME}",
    ]


def _provider(options: DeployOptions) -> Doc:
    launcher = options.launcher
    if launcher.cloud == "aws":
        region = launcher.region or "us-west-2"
        # Ended, not stopped: a stopped machine's disk costs on, and holds another night's copies.
        return {
            "type": "aws",
            "region": region,
            "availability_zone": launcher.zone or f"{region}a",
            "cache_stopped_nodes": False,
        }
    if not launcher.project:
        raise ConfigError("launcher.project must be said: the id of the GCP project whose machines these are")
    region = launcher.region or "us-west1"
    return {
        "type": "gcp",
        "region": region,
        "availability_zone": launcher.zone or f"{region}-a",
        "project_id": launcher.project,
    }


def _node_type(options: DeployOptions, machine: MachineOptions, resources: Doc, labels: dict[str, str]) -> Doc:
    config = _aws(options, machine) if options.launcher.cloud == "aws" else _gcp(options, machine)
    return {"resources": resources, "labels": labels, "node_config": config}


def _aws(options: DeployOptions, machine: MachineOptions) -> Doc:
    disk = {"VolumeSize": machine.scratch_gib + _SYSTEM_GIB, "VolumeType": "gp3", "Encrypted": True}
    config: Doc = {
        "InstanceType": _instance(_AWS, machine, "aws"),
        "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": disk}],
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2},  # 2: from inside a container
    }
    if options.launcher.machine_image:
        config["ImageId"] = options.launcher.machine_image
    if options.access.identity:
        config["IamInstanceProfile"] = {"Arn": options.access.identity}
    if isinstance(machine, WorkerOptions) and machine.spot:
        config["InstanceMarketOptions"] = {"MarketType": "spot"}
    return config


def _gcp(options: DeployOptions, machine: MachineOptions) -> Doc:
    gpus = machine.gpus if isinstance(machine, WorkerOptions) else 0
    family = "common-cu124-debian-11" if gpus else "common-cpu"
    image = options.launcher.machine_image or f"projects/deeplearning-platform-release/global/images/family/{family}"
    disk: Doc = {"diskSizeGb": machine.scratch_gib + _SYSTEM_GIB, "sourceImage": image}
    config: Doc = {
        "machineType": _instance(_GCP, machine, "gcp"),
        "disks": [{"boot": True, "autoDelete": True, "type": "PERSISTENT", "initializeParams": disk}],
    }
    scheduling: list[dict[str, Any]] = []
    if isinstance(machine, WorkerOptions) and machine.spot:
        scheduling.append({"preemptible": True})
    if gpus:
        scheduling.append({"onHostMaintenance": "TERMINATE"})  # machines with GPUs cannot be moved
        config["metadata"] = {"items": [{"key": "install-nvidia-driver", "value": "True"}]}
    if scheduling:
        config["scheduling"] = scheduling
    if options.access.identity:
        scope = "https://www.googleapis.com/auth/cloud-platform"
        config["serviceAccounts"] = [{"email": options.access.identity, "scopes": [scope]}]
    return config


def _instance(known: dict[int, dict[int, str]], machine: MachineOptions, cloud: str) -> str:
    if machine.instance:
        return machine.instance
    gpus = machine.gpus if isinstance(machine, WorkerOptions) else 0
    name = known.get(gpus, {}).get(machine.cpus)
    if name is None:
        raise ConfigError(
            f"no machine of {cloud} is known here with {machine.cpus} cores and {gpus} GPUs: name one as `instance`"
        )
    return name
