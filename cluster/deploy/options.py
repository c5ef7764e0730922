"""What the files are filled in from: one model for all of them, in a YAML file, by `--set`, or as it comes.

`docs/deploy.md` says of every number where it comes from.
"""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, field_validator

from cluster.deploy.cron import parse_cron
from stages.settings import Settings
from stages.urls import has_secrets, is_secret
from stages.weights import REGISTRY


def _unsigned(text: str) -> str:
    """Refuse what would carry a secret into a file that many may read."""
    if has_secrets(text):
        raise ValueError("holds a password or a signature: machines get their rights by service account, not by URL")
    return text


PlainUrl = Annotated[str, AfterValidator(_unsigned), Field(pattern=r"^[^\s\x00-\x1f]*$")]


def _registered(name: str) -> str:
    if name not in REGISTRY:
        raise ValueError(f"{name!r} is no file of `dubline weights list`")
    return name


RegistryName = Annotated[str, AfterValidator(_registered)]
DnsName = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$")]
"""Kubernetes names objects by it; 40 characters leave room for what KubeRay puts behind (63 in all)."""


class JobOptions(Settings):
    """What is run each night."""

    manifest: PlainUrl = ""
    """Manifest of the films, a URL that every machine can read."""
    work: PlainUrl = ""
    """Work folder, a URL that every machine can write."""
    config: str = Field("configs/musetalk.yaml", pattern=r"^[\w./-]+$")
    """Settings file below the image's /opt/dubline; read here, too, to size the machines."""
    overrides: list[PlainUrl] = Field([])
    """Settings on top, each as a.b=value."""
    fail_on: Literal["any", "all", "never"] = "all"
    """Which failed films make the job fail. `all`: KubeRay rebuilds a cluster for a failed job, and one film that
    cannot be dubbed would fail in the next one, too; the run's report names it."""
    hours: float = Field(10.0, gt=0, le=168)
    """Longest time of one try, with the start of its machines; what is not done then goes on the next night."""
    retries: int = Field(1, ge=0, le=5)
    """New clusters after one that was lost, or after a job that failed as a whole."""


class ScheduleOptions(Settings):
    """When."""

    cron: str = "0 22 * * *"
    """Minute, hour, day, month, weekday (0 to 6, or sun to sat), or a name such as @daily."""
    time_zone: str = "Etc/UTC"
    """Name of the time zone database, such as Europe/Berlin."""
    suspend: bool = False
    """Keep the schedule, start nothing."""

    @field_validator("cron")
    @classmethod
    def _readable(cls, cron: str) -> str:
        parse_cron(cron)
        return " ".join(cron.split())

    @field_validator("time_zone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{name!r} is no time zone, such as Europe/Berlin") from error
        return name


class MachineOptions(Settings):
    """One kind of machine (a pod that fills it)."""

    cpus: int = Field(16, ge=2, le=512)
    """CPU cores."""
    memory_gib: int | None = Field(None, ge=2, le=4096)
    """GiB. Empty: what its workers need."""
    scratch_gib: int = Field(200, ge=10, le=65536)
    """GiB of its own disk for copies of sources and for films being joined; `dubline plan` says how much a night's
    longest films take."""
    node_selector: dict[str, str] = Field({})
    """Kubernetes: labels of the nodes it may run on."""
    tolerations: list[str] = Field([])
    """Kubernetes: keys of the taints it may run beside."""
    instance: str = Field("", pattern=r"^[\w.-]*$")
    """Launcher: the cloud's name of the machine; empty: one with as many cores and GPUs."""


class WorkerOptions(MachineOptions):
    """A group of like machines."""

    gpus: int = Field(0, ge=0, le=16)
    """GPUs of one machine."""
    spot: bool = False
    """Machines that may be taken away at short notice, and cost less."""
    least: int | None = Field(None, ge=0, le=1000)
    """Machines that stay when there is nothing to do. Empty: for GPU machines none where a night makes its own cluster,
    one where the cluster stands: a run takes what it finds when it starts, and without a GPU networks draw on CPUs."""
    most: int | None = Field(None, ge=0, le=1000)
    """Machines there may be; the job starts with all of them, because a run sizes its workers for what it finds.
    Empty: for CPU machines as many as feed the GPUs, up to 16."""


class HeadOptions(MachineOptions):
    """The head: the driver and Ray's own services, no stage; never a spot machine."""

    cpus: int = Field(2, ge=2, le=512)
    """CPU cores."""
    memory_gib: int | None = Field(8, ge=4, le=4096)
    """GiB."""
    scratch_gib: int = Field(20, ge=10, le=65536)
    """GiB of its own disk."""


class CpuOptions(WorkerOptions):
    """Detection, cutting out, compositing."""

    spot: bool = True
    """Machines that may be taken away at short notice, and cost less."""
    least: int = Field(1, ge=0, le=1000)
    """Machines that stay when there is nothing to do; a run looks for one to begin with."""


class GpuOptions(WorkerOptions):
    """Networks."""

    cpus: int = Field(8, ge=2, le=512)
    """CPU cores."""
    gpus: int = Field(1, ge=0, le=16)
    """GPUs of one machine."""
    most: int = Field(1, ge=0, le=1000)
    """Machines there may be; the job starts with all of them. 0: none."""


class ClusterOptions(Settings):
    """The machines."""

    head: HeadOptions = HeadOptions()
    """The head."""
    cpu: CpuOptions = CpuOptions()
    """Machines without GPUs."""
    gpu: GpuOptions = GpuOptions()
    """Machines with GPUs."""
    idle_s: int = Field(300, ge=30, le=86400)
    """Seconds without work after which a machine is given back."""
    notice_s: int = Field(120, ge=15, le=3600)
    """Seconds between the notice that a machine goes and its end: 120 on AWS, 25 for pods on spot machines of GKE."""

    @field_validator("cpu")
    @classmethod
    def _without_gpus(cls, group: CpuOptions) -> CpuOptions:
        if group.gpus:
            raise ValueError("GPUs belong to cluster.gpu")
        return group

    @field_validator("gpu")
    @classmethod
    def _with_gpus(cls, group: GpuOptions) -> GpuOptions:
        if group.most and not group.gpus:
            raise ValueError("cluster.gpu.gpus must be 1 or more where there are GPU machines")
        return group


class AccessOptions(Settings):
    """Rights: always the machines' own, never a key in a file."""

    service_account: DnsName = "dubline"
    """Kubernetes service account of every pod."""
    cloud: Literal["aws", "gcp", "azure", "none"] = "aws"
    """Whose workload identity the service account stands for; `none`: the cluster's own way (such as EKS Pod
    Identity, which needs no annotation)."""
    identity: str = Field("", pattern=r"^[\w+=,.@:/-]*$")
    """AWS: ARN of a role (for the launcher, of an instance profile); GCP: e-mail of a service account; Azure: client
    id."""
    token_secret: DnsName = "dubline-ray-token"  # noqa: S105 - the name of an object
    """Kubernetes secret whose key `auth_token` is the standing cluster's Ray token."""
    env_secret: DnsName | None = None
    """Kubernetes secret whose keys become environment variables, for storage without workload identity (MinIO)."""


class WeightsOptions(Settings):
    """Model weights, brought to a machine once, whatever its workers."""

    names: list[RegistryName] | None = None
    """Names of `dubline weights list`. Empty: those that the config loads."""
    urls: dict[RegistryName, PlainUrl] = Field({})
    """Where to fetch single ones from (https), by name: those whose authors publish none, or a mirror."""
    folder: PlainUrl = ""
    """URL of a weights folder on object storage: machines keep copies of what they load, and fetch nothing else."""
    claim: DnsName | None = None
    """Kubernetes: a volume claim that holds the weights folder already, mounted read-only: nothing is fetched."""


class ImageOptions(Settings):
    """The container image, and what is built into it."""

    name: str = Field("", pattern=r"^([a-z0-9][\w./@:-]*)?$")
    """Image with a tag or a digest; must be said."""
    pull_policy: Literal["IfNotPresent", "Always"] = "IfNotPresent"
    """Tags are not moved, so that a machine that has the image (some 5 GB) need not ask again."""
    pull_secrets: list[DnsName] = Field([])
    """Kubernetes secrets for the registry; none where machines may pull by their own rights."""
    python: str = Field("", pattern=r"^(3\.\d{1,2})?$")
    """Python in the image, such as 3.12. Empty: the one this runs in, whose packages passed their tests with it and are
    what constraints.txt pins."""
    extras: list[Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]] = Field(["speech", "cpu", "musetalk", "enhance", "s3"])
    """Extras of dubline; s3, gcs for the storage."""
    packages: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.\[\]-]*$")]] = Field([])
    """Packages beside it: boto3 or google-api-python-client for the launcher."""

    @field_validator("name")
    @classmethod
    def _pinned(cls, name: str) -> str:
        last = name.rsplit("/", 1)[-1]
        if (name and ":" not in last) or last.endswith(":latest"):
            raise ValueError("must have a tag other than latest, or a digest: every machine of a night runs the same")
        return name


class LauncherOptions(Settings):
    """Ray's cluster launcher."""

    cloud: Literal["aws", "gcp"] = "aws"
    """Whose machines."""
    region: str = Field("", pattern=r"^[a-z0-9-]*$")
    """Empty: us-west-2 on AWS, us-west1 on GCP."""
    zone: str = Field("", pattern=r"^[a-z0-9,-]*$")
    """Empty: the region's first."""
    project: str = Field("", pattern=r"^[a-z0-9:.-]*$")
    """GCP: the project's id; must be said."""
    machine_image: str = Field("", pattern=r"^[\w./:-]*$")
    """Image of the machines, with Docker and NVIDIA's runtime. Empty: on AWS what Ray takes, on GCP Google's."""
    ssh_user: str = Field("ubuntu", pattern=r"^[a-z_][a-z0-9_-]*$")
    """Who logs in on the machines."""


class SystemdOptions(Settings):
    """A timer on one machine."""

    address: PlainUrl = ""
    """Ray dashboard to submit to, such as http://head:8265. Empty: the machine dubs by itself."""
    user: str = Field("dubline", pattern=r"^[a-z_][a-z0-9_-]*$")
    """Who it runs as."""
    prefix: str = Field("/opt/dubline", pattern=r"^/[\w./-]*$")
    """Folder of dubline's environment (bin/dubline) and configs."""
    memory_gib: int | None = Field(None, ge=2, le=4096)
    """Memory it may take; empty: 80 % of the machine's."""


class DeployOptions(Settings):
    """Everything the files are made from."""

    name: DnsName = "dubline-nightly"
    """What everything is called."""
    namespace: DnsName = "dubline"
    """Kubernetes namespace."""
    env: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], PlainUrl] = Field({})
    """Environment variables for every machine, such as AWS_ENDPOINT_URL; never a secret."""
    job: JobOptions = JobOptions()
    """What is run."""
    schedule: ScheduleOptions = ScheduleOptions()
    """When."""
    cluster: ClusterOptions = ClusterOptions()
    """On which machines."""
    access: AccessOptions = AccessOptions()
    """With which rights."""
    weights: WeightsOptions = WeightsOptions()
    """With which weights."""
    image: ImageOptions = ImageOptions()
    """In which image."""
    launcher: LauncherOptions = LauncherOptions()
    """Ray's cluster launcher."""
    systemd: SystemdOptions = SystemdOptions()
    """A timer on one machine."""

    @field_validator("env")
    @classmethod
    def _no_secrets(cls, env: dict[str, str]) -> dict[str, str]:
        secret = [name for name, value in env.items() if is_secret(name, value)]
        if secret:
            raise ValueError(f"{', '.join(secret)}: secrets belong into access.env_secret, or need not exist at all")
        return env
