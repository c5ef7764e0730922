"""What a submitted job brings along, and what it refuses to."""

import shlex
import zipfile
from pathlib import Path

import pytest

import stages.media.storage as storage
from cluster.upload import pinned, upload
from pipeline.manifest import ManifestError, read_manifest
from pipeline.overrides import ConfigError
from stages.errors import DubError
from tests.films import manifest

_ROOT = Path(__file__).resolve().parents[2]
ROW = {"id": "a", "video": "in/a.mp4", "audio": "s3://bucket/a.wav", "output": "out/a.mp4"}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A manifest beside things that no job needs."""
    (tmp_path / "film.mp4").write_bytes(b"0" * 10_000_000)
    return manifest(tmp_path / "night shift.jsonl", ROW)


def test_only_code_manifest_and_config_travel_and_take_less_than_two_megabytes(rows: Path) -> None:
    config = rows.parent / "own.yaml"
    config.write_text("encode: {codec: ffv1}")
    with upload(str(rows), str(config), "s3://bucket/work", ["encode.crf=20"], ["--fail-on", "all"]) as job:
        folder = Path(job.runtime_env["working_dir"])
        files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
        assert sum((folder / path).stat().st_size for path in files) < 2_000_000
        assert {path.parts[0] for path in files} == {"pipeline", "stages", "job"}
        assert not [path for path in files if path.suffix not in (".py", ".jinja", ".jsonl", ".yaml")]
        told = shlex.split(job.entrypoint)
    assert told == [
        *("python", "-m", "pipeline", "run", "job/night shift.jsonl", "--base", str(rows.parent)),
        *("--config", "job/own.yaml", "--work", "s3://bucket/work", "--set", "encode.crf=20", "--fail-on", "all"),
    ]
    assert not folder.exists()


def test_relative_paths_mean_on_the_cluster_what_they_mean_here(rows: Path) -> None:
    copy = manifest(rows.parent / "elsewhere.jsonl", ROW)
    (rows.parent / "job").mkdir()
    moved = copy.rename(rows.parent / "job/elsewhere.jsonl")
    here, there = read_manifest(str(rows)), read_manifest(str(moved), base=str(rows.parent))
    assert here.films == there.films
    assert read_manifest(str(moved), base="s3://bucket/in").films[0].video == "s3://bucket/in/in/a.mp4"


def test_urls_are_left_to_the_driver() -> None:
    with upload("s3://bucket/night.jsonl", "s3://bucket/own.yaml", "s3://bucket/work") as job:
        assert not (Path(job.runtime_env["working_dir"]) / "job").exists()
    words = "python -m pipeline run s3://bucket/night.jsonl --config s3://bucket/own.yaml --work s3://bucket/work"
    assert job.entrypoint == words


def test_another_manifest_config_or_setting_is_another_job_and_another_time_is_not(rows: Path) -> None:
    def digest(**more: object) -> str:
        with upload(str(rows), **{"config": None, "work": "/work", **more}) as job:  # type: ignore[arg-type]
            return job.digest

    first = digest()
    assert first == digest()
    assert first != digest(overrides=["encode.crf=20"])
    manifest(rows, ROW, {**ROW, "id": "b", "output": "out/b.mp4"})
    assert first != digest()


@pytest.mark.parametrize(
    ("more", "error", "told"),
    [
        ({"work": "work"}, DubError, "absolute path"),
        ({"environment": {"AWS_SECRET_ACCESS_KEY": "x"}}, DubError, "looks like a secret"),
        ({"environment": {"HTTPS_PROXY": "http://me:word@proxy"}}, DubError, "HTTPS_PROXY looks like a secret"),
        ({"manifest": "https://host/night.jsonl?sig=word"}, DubError, "night.jsonl.* looks like a secret"),
        ({"overrides": ["weights_dir=https://me:word@host/w"]}, DubError, "looks like a secret"),
        ({"overrides": ["lips.generater=x"]}, ConfigError, "did you mean lips.generator"),
        ({"config": "nowhere.yaml"}, ConfigError, "there is no such config file"),
        ({"manifest": "nowhere.jsonl"}, ManifestError, "nowhere.jsonl"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sent(
    rows: Path, more: dict[str, object], error: type[Exception], told: str
) -> None:
    asked = {"manifest": str(rows), "config": None, "work": "s3://bucket/work", **more}
    with pytest.raises(error, match=told) as caught, upload(**asked):  # type: ignore[arg-type]
        pass
    assert "word" not in str(caught.value).replace("password", ""), "a refusal is in logs too"


def test_a_manifest_without_a_film_is_not_sent(rows: Path) -> None:
    bad = manifest(rows.parent / "bad.jsonl", {"id": "a"})
    with pytest.raises(ManifestError, match="no film can be dubbed"), upload(str(bad), None, "s3://bucket/work"):
        pass


def test_pinned_packages_are_this_machines_versions_without_ray() -> None:
    names = [line.partition("==")[0] for line in pinned()]
    assert {"torch", "av", "typer"} <= {*names}
    assert not {"ray", "dubline", "pytest", "ruff"} & {*names}
    assert not [line for line in pinned() if "+" in line]


def test_a_config_may_be_a_url(tmp_path: Path) -> None:
    from pipeline.config import load_config

    storage.write_bytes("memory://night/own.yaml", b"encode: {codec: ffv1}")
    assert load_config("memory://night/own.yaml").encode.codec == "ffv1"
    with pytest.raises(ConfigError, match="there is no such config file"):
        load_config("memory://night/none.yaml")


def test_ray_job_submit_from_a_checkout_uploads_code_and_presets_alone(tmp_path: Path) -> None:
    from ray._private.runtime_env.packaging import create_package

    package = tmp_path / "upload.zip"
    create_package(str(_ROOT), package, include_gitignore=True, excludes=[".git", ".venv", "venv", "__pycache__"])
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"pipeline", "stages", "configs"}
    assert package.stat().st_size < 2_000_000
