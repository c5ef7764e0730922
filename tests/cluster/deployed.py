"""What the tests of `dubline manifest` share: options of every kind, and the schemas files are held against."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cluster.deploy.options import DeployOptions
from pipeline.overrides import apply

ROOT = Path(__file__).resolve().parents[2]
IMAGE = {"name": "registry.example.com/dubline:0.1.0"}
JOB = {"manifest": "s3://bucket/night.jsonl", "work": "s3://bucket/work"}
_NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)


def options(**values):
    """Options with a job and an image, from nested values."""
    said = {section: {**own, **values.pop(section, {})} for section, own in (("job", JOB), ("image", IMAGE))}
    return apply(DeployOptions, {**said, **values})


def crd_schema(name):
    """The stored version's schema of a custom resource, refusing what it does not know, or a skip."""
    given = os.environ.get("DUBLINE_TEST_KUBERAY")
    folder = Path(given) if given else ROOT.parent / "shared" / "reference" / "kuberay"
    file = folder / f"ray.io_{name}.yaml"
    if not file.is_file():
        pytest.skip(f"no custom resource definitions: set DUBLINE_TEST_KUBERAY to KubeRay's crd/bases ({folder})")
    versions = yaml.load(file.read_text(), yaml.CSafeLoader)["spec"]["versions"]
    return _closed(next(v for v in versions if v["storage"])["schema"]["openAPIV3Schema"])


def problems(schema, document):
    """What a schema says against a document."""
    return [f"{e.json_path}: {e.message[:200]}" for e in Draft202012Validator(schema).iter_errors(document)]


def _closed(schema):
    """A server drops fields it does not know without a word: here they are errors."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    known = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if known and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


_MACHINES = {
    "scratch_gib": st.integers(10, 4000),
    "least": st.integers(0, 1),
    "spot": st.booleans(),
    "node_selector": st.dictionaries(st.sampled_from(["pool", "cloud.google.com/x"]), _NAMES, max_size=2),
    "tolerations": st.lists(st.sampled_from(["spot", "dedicated"]), max_size=2),
}
_GPUS = st.fixed_dictionaries(
    {"gpus": st.integers(1, 8), "most": st.integers(1, 40)}, optional={**_MACHINES, "cpus": st.integers(4, 128)}
)
_CPUS = st.fixed_dictionaries(
    {"most": st.none() | st.integers(1, 200)}, optional={**_MACHINES, "cpus": st.integers(2, 128)}
)
_WEIGHTS = [
    {"folder": "s3://bucket/weights"},
    {"claim": "weights"},
    {"urls": {"wav2lip_gan": "https://mirror.example/w.pth"}},
]
some_options = st.fixed_dictionaries(
    {"weights": st.sampled_from(_WEIGHTS)},
    optional={
        "name": _NAMES,
        "namespace": _NAMES,
        "env": st.dictionaries(st.sampled_from(["AWS_ENDPOINT_URL", "HTTPS_PROXY"]), st.just("http://minio:9000")),
        "job": st.fixed_dictionaries(
            {},
            optional={
                "overrides": st.lists(st.sampled_from(["encode.preset=veryfast", "run.workers=2"]), max_size=2),
                "fail_on": st.sampled_from(["any", "all", "never"]),
                "hours": st.floats(0.01, 168),
                "retries": st.integers(0, 5),
                "config": st.sampled_from(["configs/musetalk.yaml", "configs/wav2lip-gfpgan.yaml"]),
            },
        ),
        "schedule": st.fixed_dictionaries(
            {},
            optional={
                "cron": st.sampled_from(["0 22 * * *", "*/20 0-6 1,15 * *", "30 21 * * mon-fri"]),
                "time_zone": st.sampled_from(["Etc/UTC", "Europe/Berlin"]),
                "suspend": st.booleans(),
            },
        ),
        "cluster": st.fixed_dictionaries(
            {"gpu": _GPUS},
            optional={"cpu": _CPUS, "idle_s": st.integers(30, 86400), "notice_s": st.integers(15, 3600)},
        ),
        "access": st.fixed_dictionaries(
            {"cloud": st.sampled_from(["aws", "gcp", "azure", "none"])},
            optional={
                "identity": st.sampled_from(["arn:aws:iam::123456789012:role/dub", "dub@p.iam.gserviceaccount.com"]),
                "env_secret": _NAMES,
            },
        ),
        "image": st.fixed_dictionaries({}, optional={"pull_secrets": st.lists(_NAMES, max_size=2)}),
    },
)
