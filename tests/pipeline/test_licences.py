"""Licences of weights: told when a run begins, and in the way of it where the work is commercial."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import app
from pipeline.config import Config
from pipeline.film import Film
from pipeline.ledger import WorkFolder
from pipeline.licences import check_licences, weights_in_use
from pipeline.pools import PreflightError
from pipeline.run import dub, retry
from pipeline.runs import RunRecord, write_run
from stages.errors import DubError
from stages.weights import REGISTRY, Weight
from tests.films import BOX, film, manifest, speech

WAV2LIP = "personal, research and non-commercial use only (trained on LRS2)"
COMMERCIAL = {"commercial": True}


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weights folder without files: what is said of a name needs none."""
    monkeypatch.setenv("DUBLINE_WEIGHTS", str(tmp_path / "no weights"))


def a_film(name: str = "a", **more: Any) -> Film:
    return Film(id=name, video=f"/{name}.mp4", output=f"/{name}-out.mp4", audio="/d.wav", **more)


def config(**sections: Any) -> Config:
    return Config.model_validate({"faces": {"detector": "haar"}, **sections})


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "pipeline.licences"]


@pytest.mark.parametrize(
    ("films", "sections", "expected"),
    [
        ([a_film()], {}, []),
        ([a_film()], {"faces": {"detector": "auto"}}, []),
        ([a_film()], {"faces": {"detector": "yunet"}}, ["yunet"]),
        ([a_film()], {"faces": {"detector": "sfd", "sfd_weights": "/s3fd.pth"}}, ["/s3fd.pth"]),
        ([a_film(box=BOX)], {"faces": {"detector": "sfd"}}, []),
        ([a_film(box=BOX), a_film("b")], {"faces": {"detector": "sfd"}}, ["s3fd"]),
        ([a_film()], {"crops": {"landmarks": {"provider": "fan"}}}, ["2dfan4"]),
        ([a_film()], {"crops": {"landmarks": {"provider": "dwpose"}}}, ["dwpose"]),
        ([a_film()], {"crops": {"landmarks": {"provider": "onnx", "weights": "l.onnx"}}}, ["l.onnx"]),
        ([a_film()], {"lips": {"generator": "wav2lip"}}, ["wav2lip_gan"]),
        ([a_film(generator="mouthwarp")], {"lips": {"generator": "wav2lip"}}, []),
        ([a_film(), a_film("b", generator="wav2lip"), a_film("c", generator="wav2lip")], {}, ["wav2lip_gan"]),
        (
            [a_film()],
            {
                "lips": {"generator": "wav2lip", "wav2lip": {"weights": "2dfan4"}},
                "crops": {"landmarks": {"provider": "fan"}},
            },
            ["2dfan4"],
        ),
        (
            [a_film()],
            {"lips": {"generator": "musetalk"}, "enhance": {"model": "gfpgan"}},
            [
                "musetalk-1.5-config",
                "musetalk-1.5-unet",
                "sd-vae-config",
                "sd-vae",
                "whisper-tiny-config",
                "whisper-tiny",
                "face-parse-bisenet",
                "gfpgan-1.4",
            ],
        ),
        (
            [a_film()],
            {"lips": {"generator": "wav2lip", "parsing": {"mask": "jaw"}}},
            ["wav2lip_gan", "face-parse-bisenet"],
        ),
    ],
)
def test_weights_in_use_are_those_of_the_stages_that_these_films_go_through(
    films: list[Film], sections: dict[str, Any], expected: list[str]
) -> None:
    assert weights_in_use(films, config(**sections)) == expected


def test_one_line_a_licence_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sections = {"crops": {"landmarks": {"provider": "fan"}}, "lips": {"generator": "wav2lip"}}
    check_licences([a_film()], config(faces={"detector": "sfd"}, **sections))
    assert told(caplog) == [
        "weights s3fd, 2dfan4: not stated (published with face-alignment, whose code is BSD-3-Clause)",
        f"weights wav2lip_gan: {WAV2LIP}",
    ]


def test_what_is_clearly_for_commercial_use_passes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    check_licences([a_film()], config(faces={"detector": "yunet"}, run=COMMERCIAL))
    assert told(caplog) == ["weights yunet: MIT"]


def test_a_forbidding_licence_is_in_the_way_by_name_and_nothing_lifts_it() -> None:
    run = {**COMMERCIAL, "licences_cleared": ["wav2lip_gan"]}
    with pytest.raises(PreflightError) as caught:
        check_licences([a_film()], config(lips={"generator": "wav2lip"}, run=run))
    assert f"wav2lip_gan: forbidden: {WAV2LIP}" in str(caught.value)
    assert "licences_cleared" not in str(caught.value), "no advice that would not help"


def test_an_unclear_licence_is_in_the_way_until_it_is_cleared() -> None:
    sections: dict[str, Any] = {"faces": {"detector": "sfd"}, "crops": {"landmarks": {"provider": "fan"}}}
    with pytest.raises(PreflightError) as caught:
        check_licences([a_film()], config(**sections, run=COMMERCIAL))
    assert "  s3fd: unclear: not stated (published" in str(caught.value)
    assert "--set run.licences_cleared=[s3fd, 2dfan4]" in str(caught.value)
    with pytest.raises(PreflightError) as caught:
        check_licences([a_film()], config(**sections, run={**COMMERCIAL, "licences_cleared": ["s3fd"]}))
    assert "  s3fd:" not in str(caught.value)
    assert "--set run.licences_cleared=[s3fd, 2dfan4]" in str(caught.value), "what was cleared stays so"
    check_licences([a_film()], config(**sections, run={**COMMERCIAL, "licences_cleared": ["s3fd", "2dfan4"]}))


@pytest.fixture
def renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """wav2lip_gan.pth (small here) under another name."""
    content = b"a generator trained on LRS2"
    digest = hashlib.sha256(content).hexdigest()
    stand_in = Weight("wav2lip_gan", "wav2lip_gan.pth", None, digest, len(content), WAV2LIP, commercial=False, note="-")
    monkeypatch.setitem(REGISTRY, "wav2lip_gan", stand_in)
    path = tmp_path / "ours.pth"
    path.write_bytes(content)
    return path


def test_a_renamed_file_is_known_by_its_content(renamed: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lips = {"generator": "wav2lip", "wav2lip": {"weights": str(renamed)}}
    check_licences([a_film()], config(lips=lips))
    assert told(caplog) == [f"weights {renamed} (which is wav2lip_gan): {WAV2LIP}"]
    with pytest.raises(PreflightError, match=r"ours\.pth \(which is wav2lip_gan\): forbidden: personal"):
        check_licences([a_film()], config(lips=lips, run=COMMERCIAL))


def test_a_file_of_one_s_own_passes_and_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    own = tmp_path / "own.pth"
    own.write_bytes(b"trained on our own films")
    lips = {"generator": "wav2lip", "wav2lip": {"weights": str(own)}}
    check_licences([a_film()], config(lips=lips, run=COMMERCIAL))
    assert told(caplog) == [f"weights {own}: licence unknown to dubline: yours to check"]


def test_a_file_that_is_not_here_cannot_be_judged(caplog: pytest.LogCaptureFixture) -> None:
    """Without --commercial that is no licence's business: the films that need it say so."""
    caplog.set_level(logging.INFO)
    lips = {"generator": "wav2lip", "wav2lip": {"weights": "memory://nowhere/w.pth?signature=secret"}}
    check_licences([a_film()], config(lips=lips))
    assert told(caplog) == ["weights memory://nowhere/w.pth?***: licence unknown to dubline: yours to check"]
    with pytest.raises(DubError) as caught:
        check_licences([a_film()], config(lips=lips, run=COMMERCIAL))
    assert caught.value.code == "weights_missing"


# As a user types it


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A manifest of one short film."""
    film(tmp_path / "a.mp4", frames=8)
    speech(tmp_path / "dub.wav", 0.3)
    row = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "o.mp4", "box": BOX}
    return manifest(tmp_path / "films.jsonl", row)


def dubline(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


FAST = ["--executor", "inline", "--set", "encode.preset=ultrafast", "--set", "composite.blend=feather"]


def test_a_run_refuses_before_any_work_and_a_run_tells_licences_at_its_start(rows: Path, renamed: Path) -> None:
    work = rows.parent / "work"
    arguments = ["run", rows, "--work", work, *FAST, "--set", "lips.generator=wav2lip"]
    refused = dubline(*arguments, "--commercial")
    assert refused.exit_code == 1, refused.output
    assert f"wav2lip_gan: forbidden: {WAV2LIP}" in refused.output
    assert not work.exists()
    also = dubline(*arguments, "--set", "run.commercial=true", "--set", f"lips.wav2lip.weights={renamed}")
    assert (also.exit_code, work.exists()) == (1, False)
    assert "which is wav2lip_gan" in also.output
    missing = dubline(*arguments)
    assert missing.exit_code == 1
    assert missing.output.startswith(f"weights wav2lip_gan: {WAV2LIP}\n"), "told first, then what is missing"


def test_a_commercial_run_without_weights_is_delivered(rows: Path) -> None:
    done = dubline("run", rows, "--work", rows.parent / "work", *FAST, "--commercial")
    assert done.exit_code == 0, done.output
    assert "weights " not in done.output
    assert (rows.parent / "o.mp4").stat().st_size > 0


def test_plan_refuses_too_and_else_tells_no_licences(rows: Path) -> None:
    wav2lip = ["--set", "lips.generator=wav2lip", "--work", rows.parent / "work"]
    refused = dubline("plan", rows, *wav2lip, "--commercial")
    assert refused.exit_code == 1
    assert "wav2lip_gan: forbidden" in refused.output
    done = dubline("plan", rows, *wav2lip)
    assert done.exit_code == 0, done.output
    assert "weights wav2lip_gan" not in done.output


def test_retry_may_be_commercial_where_the_run_was_not(rows: Path) -> None:
    work = str(rows.parent / "work")
    record = RunRecord([a_film(box=BOX)], config(lips={"generator": "wav2lip"}))
    write_run(WorkFolder(work), "20260314-220501-000318-3f9a", record)
    with pytest.raises(PreflightError, match="wav2lip_gan: forbidden"):
        retry(work, commercial=True)
    done = dubline("retry", work, "--commercial", "--executor", "inline")
    assert done.exit_code == 1
    assert "wav2lip_gan: forbidden" in done.output
    with pytest.raises(DubError, match="dubline weights fetch wav2lip_gan"):
        retry(work)


def test_dub_called_from_python_refuses_as_well(rows: Path) -> None:
    settings = config(lips={"generator": "wav2lip"}, run=COMMERCIAL)
    with pytest.raises(PreflightError, match="forbidden"):
        dub(str(rows), settings, str(rows.parent / "work"))
    assert not (rows.parent / "work").exists()
