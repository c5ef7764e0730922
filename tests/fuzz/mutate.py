"""Small media files, broken in ways that a seed decides."""

import random
import re
from pathlib import Path

from tests.clips import Sound, audio, clip, steady

_NAMES = re.compile(
    rb"ftyp|moov|mvhd|trak|tkhd|edts|elst|mdia|mdhd|hdlr|minf|stbl|stsd|avc1|avcC|mp4a|esds|stts|ctts|stss|stsc|stsz"
    rb"|stco|mdat|udta|meta|fmt |data|RIFF|LIST"
    rb"|\x1a\x45\xdf\xa3|\x18\x53\x80\x67|\x15\x49\xa9\x66|\x16\x54\xae\x6b|\x1f\x43\xb6\x75"
    rb"|\xa3|\xae|\x42\x86"
)
"""Names of MP4's boxes, WAV's chunks and Matroska's elements: what stands beside one is a size or a count."""
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def sources(folder: Path) -> dict[str, list[Path]]:
    """Whole files to break: films under `video`, dubs under `audio`. Tiny, so that headers are most of them."""
    folder.mkdir(parents=True)
    look = {"size": (160, 120), "options": {"g": "6", "crf": "40"}}
    sound = [Sound(0.5, language="eng")]
    quiet = {"bf": "0", **look["options"]}
    films = [
        clip(folder / "a.mp4", steady(12), sounds=sound, **look),
        clip(folder / "fragments.mp4", steady(12), mux={"movflags": "frag_keyframe+empty_moov"}, **look),
        clip(folder / "a.mkv", steady(12, 0, 512), sounds=sound, **look),
        clip(folder / "b.mkv", steady(12), codec="ffv1", size=(160, 120)),
        clip(folder / "front.mp4", steady(12, 512), mux={"movflags": "+faststart"}, size=(160, 120), options=quiet),
    ]
    codecs = {"a.wav": "pcm_s16le", "b.wav": "pcm_f32le", "a.m4a": "aac", "a.flac": "flac"}
    dubs = [audio(folder / name, Sound(0.4, codec=codec)) for name, codec in codecs.items()]
    return {"video": films, "audio": [*dubs, films[0]]}


def mutate(data: bytes, other: bytes, seed: int) -> bytes:
    """`data` after one to four accidents; `other` is what pieces of another file are taken from."""
    dice = random.Random(seed)
    broken = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 4))):
        dice.choice(_ACCIDENTS)(broken, other, dice)
    return bytes(broken)


def _place(data: bytearray, dice: random.Random) -> int:
    """Anywhere, or beside a name, or near an end: where the headers are."""
    if not data:
        return 0
    names = [match.start() for match in _NAMES.finditer(data)]
    kind = dice.random()
    if names and kind < 0.5:
        return min(len(data) - 1, max(0, dice.choice(names) + dice.randint(-8, 40)))
    if kind < 0.7:
        return dice.randrange(min(len(data), 600))
    return dice.randrange(len(data))


def _flip(data: bytearray, other: bytes, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 1, 3, 20))):
        if data:
            data[_place(data, dice)] ^= 1 << dice.randrange(8)


def _number(data: bytearray, other: bytes, dice: random.Random) -> None:
    """A size, a count or a time becomes an interesting one."""
    at, width = _place(data, dice), dice.choice((1, 2, 4, 8))
    value = dice.choice((dice.choice(_NUMBERS), dice.getrandbits(8 * width))) & ((1 << 8 * width) - 1)
    data[at : at + width] = value.to_bytes(width, dice.choice(("big", "little")))


def _truncate(data: bytearray, other: bytes, dice: random.Random) -> None:
    del data[_place(data, dice) :]


def _cut(data: bytearray, other: bytes, dice: random.Random) -> None:
    at = _place(data, dice)
    del data[at : at + dice.choice((1, 8, 100, 3000))]


def _double(data: bytearray, other: bytes, dice: random.Random) -> None:
    at, length = _place(data, dice), dice.choice((1, 8, 100, 3000))
    data[at:at] = data[at : at + length] * dice.choice((1, 1, 5))


def _swap(data: bytearray, other: bytes, dice: random.Random) -> None:
    one, two = sorted((_place(data, dice), _place(data, dice)))
    length = min(dice.choice((8, 64, 1000)), two - one)
    data[one : one + length], data[two : two + length] = data[two : two + length], data[one : one + length]


def _zero(data: bytearray, other: bytes, dice: random.Random) -> None:
    at = _place(data, dice)
    length = min(dice.choice((4, 64, 4096)), len(data) - at)
    data[at : at + length] = bytes(length)


def _splice(data: bytearray, other: bytes, dice: random.Random) -> None:
    at, begin, length = _place(data, dice), dice.randrange(len(other)), dice.choice((16, 400, 5000))
    data[at : at + dice.choice((0, length))] = other[begin : begin + length]


_ACCIDENTS = (_flip, _flip, _number, _number, _number, _truncate, _cut, _double, _swap, _zero, _splice)
