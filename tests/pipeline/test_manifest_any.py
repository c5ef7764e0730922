"""Any rows, any bytes: films, printable problems or a ManifestError, from every format alike."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.film import Film
from pipeline.manifest import ManifestError, read_manifest
from tests.pipeline.manifest_files import ROW, WRITERS, row, said, write_jsonl, write_parquet

names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,30}", fullmatch=True)
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20).filter(
    str.strip
)
rows_of_films = st.lists(
    st.fixed_dictionaries(
        {"id": names},
        optional={
            "language": st.sampled_from(["de", "pt-BR", "zh-Hant-TW", "es-419"]),
            "box": st.tuples(st.integers(0, 99), st.integers(100, 999), st.integers(0, 99), st.integers(100, 999)).map(
                list
            ),
            "audio_longer": st.sampled_from(["error", "trim", "freeze", "pingpong"]),
            "spans": st.lists(st.integers(0, 99).map(lambda start: [start, start + 0.5]), min_size=1, max_size=3),
            "generator": st.sampled_from(["mouthwarp", "wav2lip"]),
            "consent": words,
            "text": words,
        },
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda r: r["id"],
)


@settings(max_examples=60)
@given(rows=rows_of_films)
def test_any_good_rows_come_back_equal_from_every_format(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]):
    folder = tmp_path_factory.mktemp("any")
    whole = [
        {**r, "video": f"v/{r['id']}.mp4", "output": f"o/{r['id']}.mov", **({} if "text" in r else {"audio": "a.wav"})}
        for r in rows
    ]
    read = [read_manifest(write(folder / f"m.{suffix}", whole)) for suffix, write in WRITERS.items()]
    assert [said(manifest) for manifest in read] == [[]] * 4
    assert all(manifest.films == read[0].films for manifest in read)
    for film, r in zip(read[0].films, whole, strict=True):
        expected = {**r, "video": f"{folder}/{r['video']}", "output": f"{folder}/{r['output']}"}
        if "audio" in r:
            expected["audio"] = f"{folder}/a.wav"
        if "box" in r:
            expected["box"] = tuple(r["box"])
        if "spans" in r:
            expected["spans"] = tuple(map(tuple, r["spans"]))
        assert film.model_dump(exclude_unset=True) == expected


junk_bytes = st.binary(max_size=300) | st.lists(
    st.sampled_from(
        [b"id", b",", b"\n", b'"', b"\r", b"video", b"output", b"audio", b"{", b"}", b"[", b":", b"\\u", b"d800", b"a",
         b"\xff", b"\xef\xbb\xbf", b"\0", b'"id":"a"', b"null", b"1e999", b"://", b"box", b"PAR1"]
    ),
    max_size=60,
).map(b"".join)  # fmt: skip


def is_told(path: Path) -> bool:
    """Whether reading gives films or problems, all printable, or a ManifestError."""
    try:
        manifest = read_manifest(str(path))
    except ManifestError as error:
        return bool(str(error))
    return bool(manifest.films or manifest.problems) and all(
        str(problem).isprintable() for problem in manifest.problems
    )


@settings(max_examples=150)
@given(data=junk_bytes, suffix=st.sampled_from(sorted(WRITERS)), headed=st.booleans())
def test_any_bytes_are_films_problems_or_a_manifest_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str, headed: bool
):
    path = tmp_path_factory.getbasetemp() / f"junk.{suffix}"
    path.write_bytes(b"id,video,output,audio,box\n" + data if headed else data)
    assert is_told(path)


@settings(max_examples=100)
@given(cuts=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6)), min_size=1, max_size=4))
def test_damaged_parquet_is_no_crash(tmp_path_factory: pytest.TempPathFactory, cuts: list[tuple[float, bytes]]):
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    data = bytearray(Path(write_parquet(path, [row("a", box=[1, 2, 3, 4]), row("b")])).read_bytes())
    for place, new in cuts:
        start = int(place * (len(data) - 1))
        data[start : start + len(new)] = new
    path.write_bytes(data)
    assert is_told(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150)
@given(columns=st.dictionaries(st.sampled_from([*Film.model_fields, "spans"]) | st.text(max_size=6), json_values))
def test_any_json_object_is_a_film_or_printable_problems(
    tmp_path_factory: pytest.TempPathFactory, columns: dict[str, Any]
):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    write_jsonl(path, [{**ROW, **columns}])
    assert is_told(path)
