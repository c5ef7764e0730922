"""What stands at a row's locations: playlists, pipes, devices, folders, sockets, links, and names of every kind."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import Config, dub
from pipeline.film import LOCATIONS
from pipeline.manifest import ManifestError
from pipeline.plan import plan_films
from stages.media.index import index_video
from tests.films import BOX, film, manifest, speech

CONFIG = Config.model_validate({"encode": {"preset": "ultrafast"}})
OVERWRITE = Config.model_validate({"encode": {"preset": "ultrafast"}, "run": {"overwrite": True}})
INPUTS = [column for column in LOCATIONS if column not in ("output", "spans")]  # of media


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a film, its dub, and a place for deliveries."""
    film(tmp_path / "a.mp4", frames=6)
    speech(tmp_path / "a.wav", 0.2)
    (tmp_path / "out").mkdir()
    return tmp_path


def row(id: str, **columns: object) -> dict[str, object]:
    return {"id": id, "video": "a.mp4", "audio": "a.wav", "output": f"out/{id}.mp4", "box": BOX, **columns}


def codes(folder: Path, *rows: dict[str, object], config: Config = CONFIG) -> dict[str, str]:
    report = dub(str(manifest(folder / "m.jsonl", *rows)), config, str(folder / "work"))
    for one in report.all_films:
        assert one.code in ("ok", "no_face") or one.message, one
    return {one.id: one.code for one in report.all_films}


class Listener:
    """A port of this machine that counts who comes."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def asked(self) -> bool:
        self.socket.settimeout(0.05)
        try:
            self.socket.accept()
        except TimeoutError:
            return False
        return True


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.socket.close()


@pytest.mark.parametrize("column", INPUTS)
def test_no_playlist_leads_anywhere(folder: Path, listener: Listener, column: str) -> None:
    """As the film, as the dub, as any other input: playlists and scripts, under names of media and their own."""
    secret = film(folder / "secret.mp4", frames=6)
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
    dash = '<?xml version="1.0"?><MPD><Period><AdaptationSet><Representation><BaseURL>{}</BaseURL>'
    written = {
        "hls": hls.format(f"file://{secret}"),
        "hls_http": hls.format(f"{listener.url}/a.ts"),
        "concat": f"ffconcat version 1.0\nfile {secret.name}\n",
        "concat_full": f"ffconcat version 1.0\nfile 'file:{secret}'\n",
        "concat_http": f"ffconcat version 1.0\nfile '{listener.url}/a.mp4'\n",
        "dash_http": dash.format(f"{listener.url}/a.mp4"),
        "smil_http": f'<smil><body><video src="{listener.url}/a.mp4"/></body></smil>',
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    }
    rows = []
    for name, text in written.items():
        for suffix in ("mp4", "m3u8", "wav"):
            (folder / f"{name}.{suffix}").write_text(text)
            rows.append(row(f"{name}_{suffix}", **{column: f"{name}.{suffix}"}))
    assert set(codes(folder, *rows).values()) == {"decode_error"}
    assert not listener.asked()
    assert list((folder / "out").iterdir()) == []


def no_files(folder: Path) -> dict[str, Callable[[Path], object]]:
    """Makers of things that are no file, by name."""
    (folder / "real_folder").mkdir()

    def bound(path: Path) -> None:
        socket.socket(socket.AF_UNIX).bind(os.fspath(path.relative_to(Path.cwd())))

    return {
        "pipe": os.mkfifo,
        "zero": lambda path: path.symlink_to("/dev/zero"),
        "random": lambda path: path.symlink_to("/dev/urandom"),
        "null": lambda path: path.symlink_to("/dev/null"),
        "tty": lambda path: path.symlink_to("/dev/tty"),
        "stdin": lambda path: path.symlink_to("/dev/stdin"),
        "memory": lambda path: path.symlink_to("/proc/self/mem"),
        "folder": Path.mkdir,
        "to_folder": lambda path: path.symlink_to(folder / "real_folder"),
        "socket": bound,
        "circle": lambda path: path.symlink_to(path.name),
        "nowhere": lambda path: path.symlink_to("none"),
    }


@pytest.mark.parametrize("column", INPUTS)
def test_what_is_no_file_is_never_read(folder: Path, monkeypatch: pytest.MonkeyPatch, column: str) -> None:
    """A pipe would be waited for, /dev/zero never ends."""
    monkeypatch.chdir(folder)
    rows = []
    for name, make in no_files(folder).items():
        make(folder / f"{name}.mp4")
        rows.append(row(name, **{column: f"{name}.mp4"}))
    rows += [row("device", **{column: "/dev/zero"}), row("process", **{column: "/proc/self/environ"})]
    found = codes(folder, *rows, row("good"))
    assert found.pop("good") == "ok"
    assert found.pop("process") in ("decode_error", "not_found")  # a file of no size, whatever it gives
    assert found.pop("memory") in ("decode_error", "not_found")
    assert set(found.values()) == {"not_found"}, found
    planned = {one.id: one.problem for one in plan_films(str(folder / "m.jsonl"), CONFIG, str(folder / "work"))}
    assert all(problem for id, problem in planned.items() if id != "good")


def test_what_stands_at_an_output_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    rows = []
    for name, make in no_files(folder).items():
        make(folder / "out" / f"{name}.mp4")
        rows.append(row(name))
    kinds = {path.name: os.lstat(path).st_mode for path in (folder / "out").iterdir()}
    found = codes(folder, *rows)
    links_to_nothing = {"circle", "nowhere"}  # nothing is there: they are replaced, and where they led stays as it was
    assert {id for id, code in found.items() if code == "ok"} <= links_to_nothing
    assert {code for id, code in found.items() if id not in links_to_nothing} == {"bad_row"}
    for name, mode in kinds.items():
        if name.removesuffix(".mp4") not in links_to_nothing:
            assert os.lstat(folder / "out" / name).st_mode == mode
    assert not (folder / "out/none").exists()


def test_overwriting_replaces_the_name_and_never_what_it_leads_to(folder: Path) -> None:
    """A link or hard link at the output, to another film or to the source itself: only the name is taken."""
    other = film(folder / "other.mp4", frames=4)
    before = {path.name: path.read_bytes() for path in (other, folder / "a.mp4")}
    (folder / "out/link.mp4").symlink_to(other)
    os.link(other, folder / "out/hard.mp4")
    os.link(folder / "a.mp4", folder / "out/source.mp4")
    (folder / "out/same.mp4").symlink_to("../a.mp4")
    (folder / "out/dir.mp4").mkdir()
    os.mkfifo(folder / "out/pipe.mp4")
    ids = ("link", "hard", "source", "same", "dir", "pipe")
    found = codes(folder, *map(row, ids), config=OVERWRITE)
    assert found == {**dict.fromkeys(ids, "ok"), "same": "bad_row", "dir": "bad_row"}
    assert {name: (folder / name).read_bytes() for name in before} == before
    for id in ("link", "hard", "source", "pipe"):
        made = folder / f"out/{id}.mp4"
        assert made.is_file()
        assert not made.is_symlink()
        assert len(index_video(str(made))) == 6


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(os.mkfifo, id="pipe"),
        pytest.param(Path.mkdir, id="folder"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), id="zero"),
        pytest.param(lambda path: path.symlink_to("/dev/random"), id="random"),
        pytest.param(lambda path: path.symlink_to(path.name), id="circle"),
    ],
)
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_manifest_that_is_no_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], object], suffix: str
) -> None:
    path = tmp_path / f"m.{suffix}"
    make(path)
    began = time.monotonic()
    with pytest.raises(ManifestError):
        dub(str(path), CONFIG, str(tmp_path / "work"))
    assert time.monotonic() - began < 5


LEGAL = [
    'it\'s "quoted".mp4',
    "-y.mp4",
    "--help.mp4",
    ";rm -rf $(pwd) `id` &.mp4",
    "100%d %03d %s.mp4",
    "*?[a-z]{1,2}.mp4",
    "فیلم‏.mp4",
    "‮4pm.mp4",
    "映画 Фильм 🎬.mp4",
    "e\u0301 decomposed.mp4",
    "é composed.mp4",
    "back\\slash.mp4",
    " leading and trailing .mp4",
    "~.mp4",
    "|pipe,comma;'=.mp4",
    f"{'é' * 125}.mp4",  # 254 bytes of the 255 there are
    "./12:30 colon.mp4",
    "#hash?query.mp4",
]


def test_legal_names_are_delivered_whatever_is_in_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As film, dub and output at once: a name is never an option, a pattern, a command or a URL."""
    monkeypatch.chdir(folder)
    rows, whole = [], (folder / "a.mp4").read_bytes()
    for name in ("in", "sound"):
        (folder / name).mkdir()
    for number, name in enumerate(LEGAL):
        (folder / "in" / name).write_bytes(whole)
        (folder / "sound" / name).write_bytes((folder / "a.wav").read_bytes())
        names = {"video": f"in/{name}", "audio": f"sound/{name}", "output": f"out/{name}"}
        rows.append(row(f"n{number}", **names))
    found = codes(folder, *rows)
    assert found == {f"n{number}": "ok" for number in range(len(LEGAL))}
    made = {path.name for path in (folder / "out").iterdir()}
    assert made == {Path(name).name for name in LEGAL}
    assert all(len(index_video(str(folder / "out" / name))) == 6 for name in made)


@pytest.mark.parametrize("column", [*INPUTS, "output"])
def test_names_that_no_file_can_have_are_one_bad_row_each(folder: Path, column: str) -> None:
    rows = [
        row("line", **{column: "two\nlines.mp4"}),
        row("nul", **{column: "a\0.mp4"}),
        row("escape", **{column: "\x1b[31mred.mp4"}),
        row("long", **{column: "x" * 296 + ".mp4"}),
        row("deep", **{column: "d/" * 3000 + "a.mp4"}),
        row("below_a_file", **{column: "a.mp4/b.mp4"}),
    ]
    found = codes(folder, *rows, row("good"))
    assert found.pop("good") == "ok"
    assert {found[id] for id in ("line", "nul", "escape", "deep")} == {"bad_row"}
    assert {found[id] for id in ("long", "below_a_file")} == {"bad_row" if column == "output" else "not_found"}


def test_outputs_that_differ_only_in_case_or_composition_are_refused(folder: Path) -> None:
    """On the disks of studios (SMB, macOS, Windows) they are one file, and the second film would replace the first."""
    found = codes(
        folder,
        row("a", output="out/Film.mp4"),
        row("b", output="out/film.MP4"),
        row("c", output="out/caf\u00e9.mp4"),
        row("d", output="out/cafe\u0301.mp4"),
        row("e", output="out/e.mp4"),
    )
    assert found == {**dict.fromkeys("abcd", "bad_row"), "e": "ok"}


def test_two_rows_cannot_write_one_output_by_way_of_a_link(folder: Path) -> None:
    (folder / "door").symlink_to("out")
    found = codes(folder, row("a", output="out/same.mp4"), row("b", output="door/same.mp4"), row("c"))
    assert found == {"a": "bad_row", "b": "bad_row", "c": "ok"}
