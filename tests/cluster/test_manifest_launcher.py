"""The launcher's file: Ray's own schema and checks take it, and what it runs are options that Ray has."""

import json
import shlex
from pathlib import Path

import pytest
import ray
import typer.main
from hypothesis import given, settings
from jsonschema import Draft7Validator
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts import scripts

from cluster.cli import joined
from cluster.deploy.files import render
from cluster.deploy.launcher import launcher
from pipeline.config import load_config
from pipeline.overrides import ConfigError
from tests.cluster.deployed import options, problems, some_options

_SCHEMA = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())


def _made(values, cloud):
    machines = values.get("cluster", {"gpu": {"gpus": 1, "most": 1, "cpus": 8}})
    named = {
        group: {**machine, "instance": "any.large"} for group, machine in machines.items() if group in ("cpu", "gpu")
    }
    chosen = options(**{**values, "cluster": {**machines, **named}, "launcher": {"cloud": cloud, "project": "dubs-1"}})
    return chosen, launcher(chosen, load_config(chosen.job.config))


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_ray_takes_the_file(cloud):
    validator = Draft7Validator(_SCHEMA)

    @settings(max_examples=8)
    @given(some_options)
    def check(values):
        _, made = _made(values, cloud)
        assert [error.message for error in validator.iter_errors(made)] == []
        validate_config(prepare_config(made))  # min and max of workers, which node types there are

    check()


def test_a_key_that_ray_does_not_know_is_found():
    _, made = _made({}, "aws")
    assert problems(_SCHEMA, {**made, "available_nodes": {}})


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_its_commands_are_ones_that_ray_and_dubline_read(cloud):
    _, made = _made({}, cloud)
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        words = shlex.split(made[key][-1])
        assert words[:2] == ["ray", "start"]
        scripts.start.make_context("start", words[2:])
    assert made["setup_commands"]
    fetch = typer.main.get_command(joined()).commands["weights"].commands["fetch"]
    for line in made["setup_commands"]:
        words = shlex.split(line)
        assert words[:3] == ["dubline", "weights", "fetch"]
        assert fetch.make_context("fetch", words[3:]).params["names"]


def _whole(line):
    line.whitespace_split = True
    return line


def test_what_a_shell_takes_apart_stays_one_word():
    url = "https://mirror.example/w.pth?a=1&b=2"
    chosen = options(weights={"names": ["wav2lip_gan"], "urls": {"wav2lip_gan": url}}, env={"SAID": "it's;"})
    made = launcher(chosen, load_config(chosen.job.config))
    lines = [*made["setup_commands"], *made["docker"]["run_options"]]
    # With `&` and `;` as a shell has them, which `shlex.split` has not.
    split = (shlex.shlex(line, posix=True, punctuation_chars=True) for line in lines)
    words = [word for line in split for word in _whole(line)]
    assert f"--url={url}" in words
    assert "SAID=it's;" in words


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_the_head_does_no_work_and_only_workers_are_spot(cloud):
    _, made = _made({"cluster": {"gpu": {"gpus": 1, "most": 1}, "cpu": {"spot": True}}}, cloud)
    types = made["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    spot = {"aws": "InstanceMarketOptions", "gcp": "scheduling"}[cloud]
    assert (spot in types["head"]["node_config"], spot in types["cpu"]["node_config"]) == (False, True)
    assert types["gpu"]["labels"] == {"dub/pool": "gpu"}
    assert types["gpu"]["min_workers"] == 1  # a run looks for one when it starts


def test_the_token_goes_from_file_to_file_and_rights_are_the_machines_own():
    chosen = options(access={"identity": "arn:aws:iam::123456789012:instance-profile/dub"})
    made = launcher(chosen, load_config(chosen.job.config))
    assert made["file_mounts"] == {"/home/dubline/.ray/auth_token": "~/.ray/auth_token"}
    nodes = made["available_node_types"].values()
    assert {node["node_config"]["IamInstanceProfile"]["Arn"] for node in nodes} == {chosen.access.identity}
    assert "--dashboard-host=127.0.0.1" in made["head_start_ray_commands"][-1]


def test_a_machine_that_no_cloud_is_known_to_have_must_be_named():
    chosen = options(cluster={"cpu": {"cpus": 6}})
    with pytest.raises(ConfigError, match="instance"):
        launcher(chosen, load_config(chosen.job.config))


def _rendered(kind, **values):
    chosen = options(**values)
    return render(kind, chosen, load_config(chosen.job.config))


def test_a_project_of_google_s_is_nobody_s_until_it_is_said():
    with pytest.raises(ConfigError, match=r"launcher\.project must be said"):
        _rendered("launcher", launcher={"cloud": "gcp"})
    (text,) = _rendered("launcher", launcher={"cloud": "gcp", "project": "dubs-1"}).values()
    assert "project_id: dubs-1" in text


@pytest.mark.parametrize("kind", ["launcher", "systemd"])
@pytest.mark.parametrize(
    ("values", "name"),
    [({"weights": {"claim": "held"}}, "weights.claim"), ({"access": {"env_secret": "minio"}}, "access.env_secret")],
)
def test_what_only_kubernetes_can_give_is_not_left_out_in_silence(kind, values, name):
    with pytest.raises(ConfigError, match=f"{name}: there is none outside of Kubernetes"):
        _rendered(kind, **values)


def test_copies_of_sources_fit_the_smallest_disk():
    chosen = options(cluster={"cpu": {"scratch_gib": 500}, "gpu": {"scratch_gib": 100}})
    made = launcher(chosen, load_config(chosen.job.config))
    (told,) = [line for line in made["docker"]["run_options"] if "DUBLINE_CACHE_GB" in line]
    assert told == "--env DUBLINE_CACHE_GB=64"
    sizes = {disk["Ebs"]["VolumeSize"] for name in ("cpu", "gpu") for disk in _disks(made, name)}
    assert sizes == {600, 200}


def _disks(made, name):
    return made["available_node_types"][name]["node_config"]["BlockDeviceMappings"]


def test_a_container_sees_the_gpus_of_its_machine():
    """NVIDIA's runtime shows none to an image that does not ask, as Debian's own do not."""
    _, made = _made({}, "aws")
    assert "--env NVIDIA_VISIBLE_DEVICES=all" in made["docker"]["run_options"]
    assert not made["docker"].get("disable_automatic_runtime_detection")


def test_every_machine_s_ray_keeps_its_workers_as_a_local_one_does():
    _, made = _made({}, "aws")
    assert "--env RAY_idle_worker_killing_time_threshold_ms=60000" in made["docker"]["run_options"]
