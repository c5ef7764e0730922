"""What `dubline manifest` writes for Kubernetes: KubeRay takes it, its commands parse, its machines can do the work."""

import re
import shlex

import pytest
import typer.main
import yaml
from hypothesis import given, settings
from ray.scripts import scripts

from cluster.cli import joined
from cluster.deploy import kubernetes
from cluster.deploy.files import render
from cluster.deploy.pods import drain
from cluster.deploy.sizes import groups, weight_names
from pipeline.config import load_config
from pipeline.connect import WORKERS_STAY
from pipeline.overrides import ConfigError
from pipeline.pools import Node, plan_pools
from tests.cluster.deployed import crd_schema, options, problems, some_options

_DNS = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAMED = {"name", "groupName", "namespace", "serviceAccountName", "secretName", "claimName"}


def _config(chosen):
    return load_config(chosen.job.config, chosen.job.overrides)


def _parsed(words):
    """The parameters of a command line, as the command itself reads them; nothing is run."""
    assert words[0] == "dubline"
    command, words = typer.main.get_command(joined()), words[1:]
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    return command.make_context("dubline", list(words)).params


@pytest.mark.parametrize("kind", ["rayjob", "raycronjob"])
def test_what_is_written_is_what_the_custom_resource_takes(kind):
    schema = crd_schema(f"{kind}s")

    @settings(max_examples=12)
    @given(some_options)
    def check(values):
        chosen = options(**values)
        document = getattr(kubernetes, kind)(chosen, _config(chosen))
        assert problems(schema, document) == []

    check()


def test_a_field_that_the_custom_resource_does_not_know_is_found():
    chosen = options()
    document = kubernetes.rayjob(chosen, _config(chosen))
    document["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"][0]["emptyDirs"] = {}
    assert "emptyDirs" in str(problems(crd_schema("rayjobs"), document))


def test_the_standing_cluster_and_the_cron_job_s_pod_are_held_against_the_same_schema():
    schema, chosen = crd_schema("rayjobs")["properties"]["spec"]["properties"], options()
    cluster = kubernetes.raycluster(chosen, _config(chosen))
    assert problems(schema["rayClusterSpec"], cluster["spec"]) == []
    pod = kubernetes.cronjob(chosen)["spec"]["jobTemplate"]["spec"]["template"]
    assert problems(schema["submitterPodTemplate"], pod) == []


@settings(max_examples=8)
@given(some_options)
def test_every_name_is_one_that_kubernetes_takes(values):
    chosen = options(**values)
    for text in render("kuberay", chosen, _config(chosen)).values():
        for document in yaml.safe_load_all(text):
            assert [name for name in _names(document) if not _DNS.fullmatch(name)] == []


def _names(value, inside=""):
    if isinstance(value, list):
        for each in value:
            yield from _names(each, inside)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key in _NAMED and isinstance(each, str) and inside != "env":
                yield each
            yield from _names(each, key)


@settings(max_examples=8)
@given(some_options)
def test_what_manifests_run_are_command_lines_that_dubline_reads(values):
    chosen = options(**values)
    job = kubernetes.rayjob(chosen, _config(chosen))["spec"]
    read = _parsed(shlex.split(job["entrypoint"]))
    assert (read["manifest"], read["work"], read["fail_on"]) == (
        chosen.job.manifest,
        chosen.job.work,
        chosen.job.fail_on,
    )
    assert (read["overrides"] or []) == chosen.job.overrides
    assert str(read["config"]) == f"/opt/dubline/{chosen.job.config}"
    for pod in [job["rayClusterSpec"]["headGroupSpec"], *job["rayClusterSpec"]["workerGroupSpecs"]]:
        for init in pod["template"]["spec"].get("initContainers", []):
            assert _parsed(init["command"])["names"]


@settings(max_examples=8)
@given(some_options)
def test_what_ray_is_started_with_are_options_that_ray_start_has(values):
    chosen = options(**values)
    cluster = kubernetes.rayjob(chosen, _config(chosen))["spec"]["rayClusterSpec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        words = [f"--{key}={value}" for key, value in group["rayStartParams"].items()]
        read = scripts.start.make_context("start", words).params
        assert read["num_cpus"] is not None
    timeout, request = re.fullmatch(
        r"timeout (\d+) ray drain-node (.*) && sleep \d+", drain(chosen.cluster.notice_s)
    ).groups()
    read = scripts.drain_node.make_context("drain-node", shlex.split(request)).params
    assert 0 < int(timeout) + read["deadline_remaining_seconds"] < chosen.cluster.notice_s


@settings(max_examples=12)
@given(some_options)
def test_the_machines_of_a_manifest_have_room_for_the_pools_of_a_run(values):
    chosen = options(**values)
    made = groups(chosen, _config(chosen))
    nodes = [Node(0, 0), *(Node(group.ray_cpus, group.gpus, gpu_gib=24.0) for group in made for _ in range(group.most))]
    on_gpu = {"lips": 8.0} if any(group.gpus for group in made) else {}
    if sum(max(0.0, node.cpus - 1) for node in nodes) >= 2:
        pools = plan_pools(nodes, on_gpu=on_gpu)
        assert all(pool.min_size >= 1 for pool in pools.values())
    for group in made:
        assert group.memory_gib > group.store_gib + group.ray_cpus


def test_every_node_s_ray_keeps_its_workers_as_a_local_one_does():
    """Each raylet reads its own environment: the head's says nothing to the others."""
    chosen = options()
    cluster = kubernetes.rayjob(chosen, _config(chosen))["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert len(groups) == 3
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        told = {each["name"]: each["value"] for each in container["env"]}
        assert {f"RAY_{name}": str(value) for name, value in WORKERS_STAY.items()}.items() <= told.items()


def test_the_head_does_no_work_and_never_goes_with_a_spot_notice():
    chosen = options()
    head = kubernetes.rayjob(chosen, _config(chosen))["spec"]["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    with pytest.raises(ConfigError, match="spot"):
        options(cluster={"head": {"spot": True}})


def test_one_option_of_a_machine_leaves_the_others_as_they_come():
    cluster = options(cluster={"gpu": {"most": 4}, "cpu": {"most": 2}, "head": {"cpus": 4}}).cluster
    assert (cluster.gpu.cpus, cluster.gpu.gpus, cluster.gpu.most) == (8, 1, 4)
    assert (cluster.cpu.least, cluster.cpu.spot, cluster.head.memory_gib) == (1, True, 8)
    without = options(cluster={"gpu": {"most": 0}})
    assert [group.name for group in groups(without, _config(without))] == ["cpu"]


def test_cores_that_feed_a_gpu_are_kept_from_compositing():
    chosen = options(cluster={"gpu": {"cpus": 32, "gpus": 4, "most": 2}})
    gpu = groups(chosen, _config(chosen))[1]
    assert (gpu.cpus, gpu.ray_cpus, gpu.gpus, gpu.most) == (32, 24, 4, 2)
    spec = kubernetes.rayjob(chosen, _config(chosen))["spec"]["rayClusterSpec"]["workerGroupSpecs"][1]
    assert spec["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "32"
    assert spec["labels"] == {"dub/pool": "gpu"}


def test_a_standing_cluster_keeps_a_gpu_for_the_run_that_looks_for_one_when_it_starts():
    """Without, `lips.device: auto` is a CPU for the whole night."""

    def kept(**gpu):
        chosen = options(cluster={"gpu": {"most": 2, **gpu}})
        job, stands = kubernetes.rayjob(chosen, _config(chosen)), kubernetes.raycluster(chosen, _config(chosen))
        return [spec["workerGroupSpecs"][1]["minReplicas"] for spec in (job["spec"]["rayClusterSpec"], stands["spec"])]

    assert kept() == [0, 1]
    assert kept(least=0) == [0, 0]
    assert kept(least=2) == [2, 2]


def test_a_film_that_fails_makes_no_cluster_anew():
    chosen = options()
    job = kubernetes.rayjob(chosen, _config(chosen))["spec"]
    assert "--fail-on=all" in shlex.split(job["entrypoint"])
    assert (job["backoffLimit"], job["shutdownAfterJobFinishes"], job["activeDeadlineSeconds"]) == (1, True, 36000)


@pytest.mark.parametrize("kind", ["rayjob", "raycronjob"])
def test_a_stopped_job_has_time_to_write_its_report(kind):
    chosen = options()
    job = getattr(kubernetes, kind)(chosen, _config(chosen))["spec"]
    environment = yaml.safe_load(job.get("jobTemplate", job)["runtimeEnvYAML"])["env_vars"]
    assert environment == {"RAY_JOB_STOP_WAIT_TIME_S": "60"}


def test_a_cron_job_does_not_try_again_what_the_job_itself_answered():
    job = kubernetes.cronjob(options())["spec"]
    rules = job["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert [rule["onExitCodes"]["values"] for rule in rules if rule["action"] == "FailJob"] == [[2, 130]]
    assert job["concurrencyPolicy"] == "Forbid"


def test_the_cron_job_submits_under_the_name_of_its_kubernetes_job_so_that_a_new_pod_follows_the_old_one_s():
    pod = kubernetes.cronjob(options())["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    read = _parsed(pod["command"])
    assert (read["manifest"], read["options"]) == ("s3://bucket/night.jsonl", ["--fail-on=all"])
    assert read["address"] == "http://dubline-nightly-head-svc.dubline.svc:8265"
    assert read["submission_id"] == f"$({pod['env'][0]['name']})"
    assert _parsed(["dubline", "run", "night.jsonl", *read["options"]])["fail_on"] == "all"


def test_more_gpus_want_more_cpu_machines_until_somebody_says_how_many():
    def most(gpus, **cpu):
        chosen = options(cluster={"gpu": {"cpus": 8, "gpus": 1, "most": gpus}, "cpu": cpu})
        return groups(chosen, _config(chosen))[0].most

    assert most(1) < most(4) <= 16
    assert most(4, most=3) == 3


def test_weights_that_nobody_publishes_are_asked_for_before_the_night():
    chosen = options(job={"config": "configs/wav2lip.yaml"})
    with pytest.raises(ConfigError, match=r"weights.urls.wav2lip_gan=https"):
        weight_names(chosen, _config(chosen))
    chosen = options(job={"config": "configs/wav2lip.yaml"}, weights={"claim": "weights"})
    pod = kubernetes.rayjob(chosen, _config(chosen))["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert "initContainers" not in pod
    assert {"name": "weights", "persistentVolumeClaim": {"claimName": "weights", "readOnly": True}} in pod["volumes"]


def test_a_weights_folder_on_object_storage_is_used_as_it_is():
    chosen = options(job={"config": "configs/wav2lip.yaml"}, weights={"folder": "s3://bucket/weights"})
    cluster = kubernetes.rayjob(chosen, _config(chosen))["spec"]["rayClusterSpec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        assert "initContainers" not in pod
        assert {"name": "DUBLINE_WEIGHTS", "value": "s3://bucket/weights"} in pod["containers"][0]["env"]


@pytest.mark.parametrize(
    "values",
    [
        {"job": {"manifest": "https://user:hunter2@host/night.jsonl"}},
        {"job": {"manifest": "https://user:hunter2@host/night.jsonl?version=1"}},
        {"job": {"manifest": "https://hunter2@host/night.jsonl"}},
        {"job": {"work": "https://host/work?X-Amz-Signature=abc"}},
        {"env": {"AWS_SECRET_ACCESS_KEY": "abc"}},
        {"env": {"AZURE_STORAGE_CONNECTION_STRING": "AccountKey=abc"}},
        {"job": {"overrides": ["weights_dir=https://u:p@host/w"]}},
        {"image": {"name": "registry/dubline:latest"}},
        {"image": {"name": "registry/dubline"}},
        {"name": "Night_1"},
        {"schedule": {"cron": "0 25 * * *"}},
        {"schedule": {"time_zone": "Mars/Olympus"}},
        {"cluster": {"gpu": {"most": 0}, "cpu": {"most": 0, "least": 0}}},
        {"cluster": {"cpu": {"memory_gib": 4}}},
        {"cluster": {"cpu": {"most": 1, "least": 2}}},
        {"weights": {"names": ["no-such-weights"]}},
    ],
)
def test_options_that_would_fail_at_night_or_carry_a_secret_are_refused(values):
    with pytest.raises(ConfigError):
        _rayjob(values)


def test_where_a_file_with_credentials_lies_is_no_secret():
    where = {"GOOGLE_APPLICATION_CREDENTIALS": "/var/run/key.json", "TOKENIZERS_PARALLELISM": "false"}
    assert options(env=where).env == where


def _rayjob(values):
    chosen = options(**values)
    return kubernetes.rayjob(chosen, _config(chosen))


def test_credentials_come_from_the_service_account_alone():
    role = "arn:aws:iam::123456789012:role/dub"
    account = kubernetes.service_account(options(access={"identity": role}))
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": role}
    text = render("kuberay", options(), _config(options()))["cronjob.yaml"]
    assert "secretKeyRef" in text
    assert not re.search(r"AWS_(ACCESS|SECRET)", text)
