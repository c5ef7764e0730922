"""The same graph on a real Ray: the same pictures as in one process, with one worker and with two."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest
from ray.data import Dataset

from pipeline import Config, dub
from pipeline.flow import run_on_ray
from pipeline.keys import landmarks_key
from pipeline.pools import Node, plan_pools
from pipeline.recipe import recipe_of
from pipeline.report import RunReport
from pipeline.rows import Row
from stages.arrays import I32
from stages.cast.types import Cast
from stages.crops.crops import Crops
from stages.crops.landmarks.settings import build
from stages.crops.track import LandmarkCache
from stages.media.decode import read_frames
from stages.media.index import index_video
from stages.media.planes import even_region, planes
from stages.media.timeline import Timeline
from stages.weights import Weights
from tests.films import BOX, film, manifest, portrait, same_pictures, slide, speech
from tests.pipeline import models

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def settings(generator: str, checkpoint: Path, **more: object) -> Config:
    """Lossless, small shards."""
    lips = {"generator": generator, "wav2lip": {"weights": str(checkpoint)}}
    return Config.model_validate({"encode": {"codec": "ffv1"}, "lips": lips, **more})


def test_ray_data_takes_stages_that_reserve_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages_on_ray: list[str]
) -> None:
    """It has conditions of its own for those. No machine here has a GPU: the graph is made, and not run."""
    pools = plan_pools([Node(8, 1, gpu_gib=80)], on_gpu={"crops": 4.0, "lips": 8.0})
    monkeypatch.setattr(Dataset, "iter_internal_ref_bundles", lambda _: iter(()))
    assert list(run_on_ray([Row("film", "a", "{}")], Config(), str(tmp_path), pools)) == []
    assert stages_on_ray == list(pools)


@pytest.mark.parametrize(("generator", "workers"), [("mouthwarp", 2), ("wav2lip", 1)])
def test_ray_and_this_process_paint_the_same_pictures(
    tmp_path: Path, generator: str, workers: int, wav2lip_file: Path, stages_on_ray: list[str]
) -> None:
    """One bad film among the good ones: it fails alone. Nobody asks for an enhancer, so it gets no workers."""
    film(tmp_path / "a.mp4", frames=24, picture=lambda k: slide(0) if k < 4 else portrait(k))
    film(tmp_path / "b.mp4", frames=15)
    speech(tmp_path / "dub.wav", 0.6)
    rows = [{"id": name, "video": f"{name}.mp4", "audio": "dub.wav", "output": f"{{}}/{name}.mp4"} for name in "ab"] + [
        {"id": "gone", "video": "gone.mp4", "audio": "dub.wav", "output": "{}/gone.mp4", "box": BOX}
    ]
    reports: dict[str, RunReport] = {}
    for executor, shard_s in (("inline", 600), ("ray", 0.3)):
        named = [{**row, "output": str(row["output"]).format(executor)} for row in rows]
        config = settings(generator, wav2lip_file, split={"shard_s": shard_s}, run={"workers": workers})
        path = manifest(tmp_path / f"{executor}.jsonl", *named)
        reports[executor] = dub(str(path), config, str(tmp_path / executor / "work"), executor=executor)  # type: ignore[arg-type]
    for report in reports.values():
        assert {f.id: f.code for f in report.all_films} == {"a": "ok", "b": "ok", "gone": "not_found"}
    assert "lips" in stages_on_ray
    assert "enhance" not in stages_on_ray
    assert reports["ray"].films["a"].shards > 1
    assert reports["ray"].films["a"].painted == reports["inline"].films["a"].painted == 20
    for name in "ab":
        assert same_pictures(tmp_path / "inline" / f"{name}.mp4", tmp_path / "ray" / f"{name}.mp4")


def excerpt(source: Path, target: Path, frames: int) -> Path:
    """The first frames of a clip by stream copy, sound included."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        streams = {s.index: writer.add_stream_from_template(s) for s in reader.streams if s.type in ("video", "audio")}
        seen = 0
        for packet in reader.demux(*(reader.streams[i] for i in streams)):
            if packet.dts is None:
                continue
            seen += packet.stream.type == "video"
            if seen > frames:
                break
            packet.stream = streams[packet.stream.index]
            writer.mux(packet)
    return target


@pytest.mark.parametrize(
    ("generator", "clip", "voice", "frames"),
    [
        ("wav2lip", "demo1_video.mp4", "demo1_audio.wav", 24),
        pytest.param("wav2lip", "demo1_video.mp4", "demo1_audio.wav", None, marks=pytest.mark.soak),
        pytest.param("wav2lip", "yongen.mp4", "eng.wav", None, marks=pytest.mark.soak),
        pytest.param("musetalk", "demo1_video.mp4", "demo1_audio.wav", None, marks=pytest.mark.soak),
    ],
)
def test_real_clip_through_yunet_pfld_and_a_network(
    tmp_path: Path,
    generator: str,
    clip: str,
    voice: str,
    frames: int | None,
    media_dir: Path,
    weights_dir: Path,
    wav2lip_file: Path,
    model_files: Path,
) -> None:
    """Whole clips on Ray; MuseTalk with the face parser.

    Outside the box that each of them redraws, every plane is the source's.
    """
    video = media_dir / clip if frames is None else excerpt(media_dir / clip, tmp_path / clip, frames)
    landmarks = {"provider": "onnx", "weights": str(weights_dir / "pfld_68.onnx")}
    drawn = models.settings(model_files, generator, wav2lip={"weights": str(wav2lip_file)})
    more = {
        "faces": {"detector": "yunet"},
        "crops": {"landmarks": landmarks},
        "weights_dir": str(weights_dir),
        "split": {"shard_s": 3 if frames is None else 0.8},
    }
    config = Config.model_validate(drawn | more)
    row = {"id": "clip", "video": str(video), "audio": str(media_dir / voice), "audio_longer": "trim"}
    path = manifest(tmp_path / "m.jsonl", {**row, "output": "out.mp4", "language": "en"})
    executor: Literal["ray", "inline"] = "ray" if frames is None else "inline"
    report = dub(str(path), config, str(tmp_path / "work"), executor=executor)
    assert report.films["clip"].code == "ok", report.films["clip"].message
    index, made = index_video(str(video)), index_video(str(tmp_path / "out.mp4"))
    assert made.time_base == index.time_base
    assert np.array_equal(made.pts, index.pts)
    boxes = painted_boxes(video, tmp_path / "work", config)
    assert len(boxes) == len(index)
    changed = 0
    pairs = zip(
        read_frames(video, index, 0, len(index)), read_frames(tmp_path / "out.mp4", made, 0, len(made)), strict=True
    )
    for (number, before), (_, after) in pairs:
        x0, y0, x1, y1 = even_region(tuple(boxes[number].tolist()), 4, before.width, before.height)
        for plane, (b, a) in enumerate(zip(planes(before), planes(after), strict=True)):
            shift = int(plane > 0)
            inside = (slice(y0 >> shift, y1 >> shift), slice(x0 >> shift, x1 >> shift))
            changed += int((b[inside] != a[inside]).sum())
            kept = a.copy()
            kept[inside] = b[inside]
            assert np.array_equal(b, kept), f"frame {number}, plane {plane}: changed outside the face"
    assert changed > 1000 * len(index)


def painted_boxes(video: Path, work: Path, config: Config) -> I32:
    """int32 [n, 4]: where the patches of a finished film lie, of which every frame is painted."""
    index = index_video(str(video))
    cast = Cast.from_bytes(next((work / "films").glob("*/cast.npz")).read_bytes())
    assert cast.painted.all()
    weights = Weights(config.weights_dir)
    wish = replace(recipe_of(config.lips.generator, "none", config).crop, context=False)
    crops = Crops(config.crops, config.media, build(config.crops.landmarks, weights), wish)
    cache = LandmarkCache(str(next((work / "cache/landmarks").iterdir())), landmarks_key(config, weights))
    cut = crops(video, Timeline.of(index), cast, 0, len(index), cache)
    assert cut.located == 0  # all of them are in the cache
    assert cut.stack is not None
    return cut.stack.boxes


def whole_clip(media_dir: Path) -> dict[str, object]:
    """A row for the drawn clip, whole."""
    return {
        "id": "clip",
        "video": str(media_dir / "yongen.mp4"),
        "audio": str(media_dir / "eng.wav"),
        "audio_longer": "trim",
    }


@pytest.mark.soak
@pytest.mark.parametrize("generator", ["mouthwarp", "wav2lip"])
def test_whole_clip_whatever_the_shards_workers_and_executor(
    tmp_path: Path, generator: str, media_dir: Path, weights_dir: Path, wav2lip_file: Path
) -> None:
    """One shard, 1-second and 3-second shards, inline and on Ray with 1 and 2 workers."""
    runs = [("inline", 600.0, 1), ("inline", 1.0, 1), ("inline", 3.0, 1)]
    runs += [("ray", 3.0, 1), ("ray", 1.0, 2), ("ray", 600.0, 2)]
    for number, (executor, shard_s, workers) in enumerate(runs):
        config = settings(
            generator,
            wav2lip_file,
            weights_dir=str(weights_dir),
            crops={"landmarks": {"provider": "onnx", "weights": str(weights_dir / "pfld_68.onnx")}},
            split={"shard_s": shard_s},
            run={"workers": workers},
        )
        path = manifest(tmp_path / "m.jsonl", {**whole_clip(media_dir), "output": f"{number}.mp4"})
        report = dub(str(path), config, str(tmp_path / f"work{number}"), executor=executor)  # type: ignore[arg-type]
        assert report.films["clip"].code == "ok", report.films["clip"].message
        if number:
            assert same_pictures(tmp_path / "0.mp4", tmp_path / f"{number}.mp4"), (executor, shard_s, workers)
