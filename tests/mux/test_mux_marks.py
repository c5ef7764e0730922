"""What is said about tracks: marks, titles, languages, timecodes, tags; kept, or named."""

from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.packet import Packet
from av.stream import Disposition

from tests.clips import Sound, clip, ffmpeg, numbered, steady
from tests.mux.pieces import MS, deliver, dispositions

SUBTITLE = "1\n00:00:00,100 --> 00:00:00,400\nGood morning\n"


def marked(folder: Path) -> Path:
    """A Matroska film whose tracks are marked and titled."""
    film = clip(folder / "a.mkv", steady(25, step=40), sounds=[Sound(1.0), Sound(1.0)], **MS)
    (folder / "s.srt").write_text(SUBTITLE)
    inputs = ["-i", film, "-i", folder / "s.srt", "-i", folder / "s.srt", "-map", 0, "-map", 1, "-map", 2]
    marks = ["-disposition:a:0", "original+default", "-disposition:a:1", "comment"]
    marks += ["-disposition:s:0", "forced+default", "-disposition:s:1", "hearing_impaired"]
    titles = ["-metadata:s:v:0", "title=The picture", "-metadata:s:s:1", "title=For all"]
    ffmpeg(*inputs, "-c", "copy", *marks, *titles, folder / "marked.mkv")
    return folder / "marked.mkv"


def marks(path: Path) -> list[tuple[str, Disposition]]:
    with av.open(str(path)) as container:
        return [(s.type, s.disposition) for s in container.streams][1:]


def titles(path: Path) -> list[str | None]:
    with av.open(str(path)) as container:
        tags = [{k.lower(): v for k, v in s.metadata.items()} for s in container.streams]
    return [tag.get("title", tag.get("name")) for tag in tags]


def test_marks_stay_or_are_named(tmp_path: Path) -> None:
    film = marked(tmp_path)
    made = deliver(film, name="out.mkv")
    d = Disposition
    kept = [("audio", d.default), ("audio", d.original), ("audio", d.comment)]
    assert marks(made.path) == [*kept, ("subtitle", d.forced | d.default), ("subtitle", d.hearing_impaired)]
    assert titles(made.path)[0] == "The picture"
    assert titles(made.path)[5] == "For all"
    assert made.notes == ""
    mp4 = deliver(film, name="out.mp4")
    assert [flags & d.comment for _, flags in marks(mp4.path)][2]
    assert [flags & (d.forced | d.hearing_impaired) for _, flags in marks(mp4.path)][3:] == [
        d.forced,
        d.hearing_impaired,
    ]
    assert titles(mp4.path)[5] == "For all"
    assert mp4.notes == "audio track 0 is no longer marked as original: .mp4 has no such mark"
    mov = deliver(film, name="out.mov")
    for lost in ("audio track 1 is no longer marked as comment", "subtitle track 0 is no longer marked as forced"):
        assert lost in mov.notes


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_titles_are_only_titles(tmp_path: Path, suffix: str) -> None:
    """They go to ffmpeg in a file of tags, whose own signs they may hold."""
    wild = "a=b; #c\\d [STREAM]\n[CHAPTER] 'e' \"f\" {g} фильм"
    film = clip(
        tmp_path / "a.mkv", steady(12, step=40), sounds=[Sound(0.5, title=wild)], metadata={"title": wild}, **MS
    )
    made = deliver(film, name=f"out{suffix}")
    assert titles(made.path)[2] == wild
    with av.open(str(made.path)) as container:
        assert {k.lower(): v for k, v in container.metadata.items()}["title"] == wild
        assert container.chapters() == []
    assert made.notes == ""


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_text_that_ends_in_a_backslash_takes_nothing_along(tmp_path: Path, suffix: str) -> None:
    """The reader of tags looks at one sign only: it took the next line, or the next track's tags, for the title's."""
    sounds = [Sound(0.5, title=f"{k}\\\n\\", language=name) for k, name in enumerate(("eng", "fra"))]
    said = {"title": "C:\\", "comment": "D"}
    film = clip(tmp_path / "a.mkv", steady(12, step=40), sounds=sounds, metadata=said, **MS)
    made = deliver(film, name=f"out{suffix}", language="de")
    assert made.notes == ""
    assert titles(made.path)[1:4] == [None, "0\\\n\\", "1\\\n\\"]
    with av.open(str(made.path)) as container:
        french = "fre" if suffix == ".mkv" else "fra"
        assert [stream.language for stream in container.streams.audio][1:] == ["eng", french]
        assert said.items() <= {k.lower(): v for k, v in container.metadata.items()}.items()


def test_tags_without_a_place_are_named(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mkv", steady(12, step=40), metadata={"title": "T", "director": "D"}, **MS)
    assert deliver(film, name="out.mkv").notes == ""
    assert deliver(film).notes == "metadata left out: DIRECTOR: .mp4 has no place for it"


def test_a_camera_s_own_tags_stay_in_quicktime(tmp_path: Path) -> None:
    film, tags = tmp_path / "apple.mov", ["-metadata", "com.apple.quicktime.make=Apple", "-metadata", "title=T"]
    ffmpeg("-i", clip(tmp_path / "a.mp4", steady(12)), "-c", "copy", "-movflags", "use_metadata_tags", *tags, film)
    made = deliver(film, name="out.mov", language="de")
    with av.open(str(made.path)) as container:
        assert container.metadata["com.apple.quicktime.make"] == "Apple"
        assert container.metadata["title"] == "T"
    assert made.notes == ""
    assert "com.apple.quicktime.make: .mp4 has no place" in deliver(film).notes


def test_a_language_s_region_is_in_the_title(tmp_path: Path) -> None:
    film = clip(tmp_path / "a.mp4", steady(12))
    for suffix, letters in ((".mp4", "por"), (".mkv", "por")):
        made = deliver(film, name=f"out{suffix}", language="pt-BR")
        assert dispositions(made.path)[1][1] == letters
        assert titles(made.path)[1] == "pt-BR"
        assert "stored as 'por', and in full in the track's title" in made.notes


def test_a_timecode_stays_where_the_container_has_one(tmp_path: Path) -> None:
    film = tmp_path / "tc.mov"
    ffmpeg("-i", clip(tmp_path / "a.mp4", steady(25)), "-c", "copy", "-timecode", "01:02:03:04", film)
    for suffix, kinds in ((".mov", 1), (".mp4", 1), (".mkv", 0)):
        made = deliver(film, name=f"out{suffix}")
        with av.open(str(made.path)) as container:
            assert len([s for s in container.streams if s.type == "data"]) == kinds
            tags = {k.lower(): v for k, v in container.streams.video[0].metadata.items()}
        assert tags["timecode"] == "01:02:03:04"
        assert ("is kept as a tag" in made.notes) == (suffix == ".mkv")


def camera(path: Path) -> Path:
    """A film with the data track of an action camera: five packets."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        data = out.add_data_stream("bin_data")
        data.time_base = Fraction(1, 1000)
        for number in range(25):
            frame = numbered(number)
            frame.pts = number
            out.mux(stream.encode(frame))
            if number % 5 == 0:
                packet = Packet(b"GPMF%04d" % number)
                packet.stream, packet.time_base = data, Fraction(1, 1000)
                packet.pts = packet.dts = number * 40
                packet.duration = 200
                out.mux(packet)
        out.mux(stream.encode(None))
    return path


def test_a_camera_s_data_track_is_kept_or_named(tmp_path: Path) -> None:
    (tmp_path / "chapters.txt").write_text(
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=500\nEND=1000\ntitle=Two\n"
    )
    film = tmp_path / "both.mp4"
    inputs = ["-i", camera(tmp_path / "gopro.mp4"), "-i", tmp_path / "chapters.txt"]
    ffmpeg(*inputs, "-map", "0:v", "-map", "0:d", "-map_chapters", 1, "-c", "copy", film)
    for suffix in (".mp4", ".mov"):
        made = deliver(film, name=f"out{suffix}")
        with av.open(str(made.path)) as container:
            data = container.streams.data[0]
            assert [bytes(p) for p in container.demux(data) if p.size] == [b"GPMF%04d" % n for n in range(0, 25, 5)]
            assert [c["metadata"]["title"] for c in container.chapters()] == ["One", "Two"]
        assert made.notes == ""
    assert deliver(film, name="out.mkv").notes == "data track 0 (bin_data) left out: .mkv cannot carry it"
