"""What a file calls itself says nothing: only self-contained media gets in, and only what the caps allow."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest

from stages.errors import DubError
from stages.media.decode import read_frames
from stages.media.index import index_video
from stages.media.open import open_media, video_stream
from stages.media.planes import planes
from stages.media.settings import MediaLimits, MediaSettings
from tests.clips import Sound, clip, ffmpeg, is_open, number_of, numbered, shown, steady


def refused(path: Path, limits: MediaLimits | None = None) -> DubError:
    with pytest.raises(DubError) as caught, open_media(path, limits):
        pass
    assert path.name.split("\n")[0] in caught.value.message
    return caught.value


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return clip(tmp_path / "film.mp4", steady(10))


def test_a_playlist_that_calls_itself_mp4_opens_nothing(tmp_path: Path, film: Path) -> None:
    for name in ("list.mp4", "list.m3u8"):
        target = tmp_path / name
        target.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{film}\n#EXT-X-ENDLIST\n")
        assert refused(target).code == "decode_error"


def test_a_concat_script_that_calls_itself_mp4_opens_nothing(tmp_path: Path, film: Path) -> None:
    script = tmp_path / "script.mp4"
    script.write_text(f"ffconcat version 1.0\nfile {film.name}\n")
    with av.open(str(script)) as trap:  # the trap is real: FFmpeg itself follows it
        assert trap.format.name == "concat"
    assert refused(script).code == "decode_error"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.mp4", b"Dear all, the film is attached.\n" * 50),
        ("empty.mp4", b""),
        ("page.mp4", b"<html><body>404</body></html>"),
        ("sdp.mp4", b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"),
        ("picture.mp4", b"\x89PNG\r\n\x1a\n" + bytes(64)),
    ],
)
def test_what_is_not_media_is_called_so(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert refused(path).code == "decode_error"


def test_nothing_there_and_a_folder_are_not_found(tmp_path: Path) -> None:
    missing = refused(tmp_path / "missing.mp4")
    assert (missing.code, "no such file" in missing.message) == ("not_found", True)
    (tmp_path / "folder.mp4").mkdir()
    folder = refused(tmp_path / "folder.mp4")
    assert (folder.code, "not a file" in folder.message) == ("not_found", True)


@pytest.mark.parametrize(
    "name",
    [
        "-y.mp4",
        'it\'s "quoted".mp4',
        "фильм — 映画.mp4",
        "two\nlines.mp4",
        "100%d %03d %s.mp4",
        "a*b?[c].mp4",
        "concat:a|b.mp4",
        "http:x.mp4",
        "file:x.mp4",
        "a,b;c&d$e`f.mp4",
    ],
)
def test_a_name_is_never_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, film: Path, name: str) -> None:
    film.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / name, Path(name)):
        index = index_video(str(path.absolute()))
        numbers = [n for n, frame in read_frames(path, index, 3, 6) if number_of(planes(frame)[0]) == n]
        assert numbers == [3, 4, 5]


def test_a_pattern_for_series_of_pictures_opens_none(tmp_path: Path) -> None:
    """`%03d` makes FFmpeg's image reader look for shot-001.png."""
    for name in ("shot-001.png", "shot-%03d.png"):
        numbered(1).reformat(format="rgb24").save(str(tmp_path / "shot-001.png"))
        (tmp_path / name).write_bytes((tmp_path / "shot-001.png").read_bytes())
        assert refused(tmp_path / name).code == "decode_error"
    assert refused(tmp_path / "shot-%02d.png").code == "not_found"


def test_a_picture_over_the_cap_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """4096x4096 in one colour is a few KB of file and 25 MB a frame: the probe would decode it."""
    big = clip(tmp_path / "big.mp4", [0], size=(4096, 4096), picture=_grey, options={"preset": "ultrafast"})
    assert big.stat().st_size < 200_000
    error = refused(big, MediaLimits(max_pixels=4096 * 4095))
    assert error.code == "unsupported"
    assert "4096x4096" in error.message
    assert "media.limits.max_pixels" in error.message
    assert _grown_kb(big, 4096 * 4095) < 16 << 10
    assert _grown_kb(big, 4096 * 4096) > 24 << 10, "the probe decodes what it may"
    with open_media(big, MediaLimits(max_pixels=4096 * 4096)):
        pass


def test_the_cap_holds_the_decoder_when_the_header_says_less(tmp_path: Path) -> None:
    """A transport stream may go on with larger pictures than it began with."""
    own = {"time_base": Fraction(1, 90000), "mux": {"mpegts_copyts": "1"}}
    small = clip(tmp_path / "small.ts", steady(5, 90000, 3600), **own)
    large = clip(tmp_path / "large.ts", steady(5, 180000, 3600), size=(512, 512), picture=_grey, **own)
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    assert {frame[1][0].shape for frame in shown(both)} == {(48, 64), (512, 512)}
    index = index_video(str(both))
    settings = MediaSettings(limits=MediaLimits(max_pixels=100_000))
    decoded: list[int] = []
    with pytest.raises(DubError) as caught:
        decoded.extend(frame.width for _, frame in read_frames(both, index, 0, len(index), settings))
    assert set(decoded) <= {64}
    assert caught.value.code == "decode_error"


def test_too_many_streams_or_channels_are_refused(tmp_path: Path) -> None:
    many = clip(tmp_path / "many.mkv", steady(2), sounds=[Sound(0.1, codec="pcm_s16le")] * 5)
    assert refused(many, MediaLimits(max_streams=5)).code == "unsupported"
    with open_media(many, MediaLimits(max_streams=6)):
        pass
    wide = tmp_path / "wide.wav"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=cl=7.1:d=0.1", wide)
    assert refused(wide, MediaLimits(max_channels=7)).code == "unsupported"


def test_a_file_system_that_does_not_answer_is_a_timeout(film: Path) -> None:
    with pytest.raises(DubError) as caught, open_media(film, MediaLimits(open_timeout_s=1e-9)) as container:
        list(container.demux(video=0))
    assert caught.value.code == "timeout"
    assert "open_timeout_s" in caught.value.message


def test_lack_of_memory_is_not_taken_for_damage(film: Path) -> None:
    with pytest.raises(MemoryError), open_media(film):
        raise av.error.MemoryError(12, "Cannot allocate memory")


def test_an_error_inside_closes_the_file(film: Path) -> None:
    with open_media(film):
        assert is_open(film)
    with pytest.raises(ValueError, match="mine"), open_media(film):
        raise ValueError("mine")
    assert not is_open(film)


def test_a_cover_image_is_not_the_film(tmp_path: Path) -> None:
    cover, song = tmp_path / "cover.png", tmp_path / "song.mp3"
    numbered(1).reformat(format="rgb24").save(str(cover))
    ffmpeg(
        "-f", "lavfi", "-i", "sine=d=0.3", "-i", cover, "-map", 0, "-map", 1, "-c:v", "copy", "-id3v2_version", 3, song
    )
    with open_media(song) as container:
        assert len(container.streams.video) == 1
        with pytest.raises(DubError) as caught:
            video_stream(container, song)
    assert caught.value.code == "no_video"


def _grown_kb(path: Path, max_pixels: int) -> int:
    """By how much a process of its own grows while it opens a file."""
    script = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from stages.errors import DubError\n"
        "from stages.media.open import open_media\n"
        "from stages.media.settings import MediaLimits\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "Path('/proc/self/clear_refs').write_text('5')\n"  # the peak begins anew
        "before = peak()\n"
        "try:\n"
        "    with open_media(Path(sys.argv[1]), MediaLimits(max_pixels=int(sys.argv[2]))): pass\n"
        "except DubError: pass\n"
        "print(peak() - before)\n"
    )
    command = [sys.executable, "-c", script, str(path), str(max_pixels)]
    return int(subprocess.run(command, capture_output=True, check=True, cwd=Path(__file__).parents[2]).stdout)


def _grey(_: int, size: tuple[int, int], pix_fmt: str) -> av.VideoFrame:
    frame = av.VideoFrame(*size, pix_fmt)
    for plane in frame.planes:
        plane.update(bytes([128]) * plane.buffer_size)
    return frame
