"""The delivery's first sound: whether it is copied or encoded, how loud it is, and how loud it becomes."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stages.errors import DubError
from stages.media.open import open_media
from stages.media.ranges import MediaSource, whole_file
from stages.media.settings import TRUSTED
from stages.mux.ffmpeg import media_input
from stages.mux.loudness import NOTHING_TO_DO_LU, TOLERANCE_LU, Loudness, gained, measure, normalization
from stages.mux.settings import MuxSettings
from stages.mux.sound import (
    Clock,
    Dub,
    SoundPackets,
    Way,
    bit_rate_kbps,
    choose_way,
    copied_input,
    for_encoder,
    laid_out,
    mix_rate,
    mixed,
    read_packets,
)


@dataclass(frozen=True)
class Heard:
    """How loud everything is."""

    facts: dict[str, Any]
    notes: list[str]


@dataclass(frozen=True)
class Soundtrack:
    """The dub on its way into the film."""

    way: Way
    stream: Any
    """Of ffmpeg-python: what is mapped."""
    packets: SoundPackets
    target_lufs: float | None
    """What the loudness is brought to; None where it stays."""
    measured: dict[str, Loudness]
    """What had to be measured before."""
    to_measure: dict[str, Any]
    """What is measured together with the delivery."""
    timeout_s: float
    kbps: int
    """What it is encoded with, where its encoder asks for a bit rate."""
    excerpt: bool = False
    """A sample of the film: the report of its loudness is the whole film's."""
    notes: list[str] = field(default_factory=list)

    @property
    def copied(self) -> bool:
        """Whether the dub's own packets are delivered."""
        return self.way.encoder == "copy"

    @property
    def first_s(self) -> float:
        """When the dub's first packet comes, seconds from its sample 0."""
        return self.packets.first_s - self.packets.begins_s

    @property
    def level(self) -> str:
        """How much ffmpeg has to say while it writes the film: loudnorm tells what it did as information."""
        return "error" if self.target_lufs is None else "info"

    def heard(self, film: Path, said: str) -> Heard:
        """Measure what was delivered, and whatever was not needed before. `said`: ffmpeg, as it wrote the film."""
        if self.excerpt:
            return Heard({}, self.notes)
        notes, sounds = list(self.notes), dict(self.to_measure)
        if not self.copied:
            sounds["delivered"] = media_input(film)["a:0"]
        try:
            measured = {**self.measured, **measure(sounds, self.timeout_s)}
        except DubError as error:
            if error.code not in ("internal", "timeout"):  # the film itself is finished and whole
                raise
            return Heard({}, [*notes, f"the loudness was not measured: {error}"])
        if self.copied:
            measured["delivered"] = measured["dub"]
        facts: dict[str, Any] = {
            name: measured[name].facts() if name in measured else None for name in ("source", "dub", "delivered")
        }
        if "mix" in measured:
            facts["mix"] = measured["mix"].facts()
        if self.target_lufs is not None:
            facts |= {"target_lufs": self.target_lufs, "normalization": normalization(said)}
            notes += _missed(self.target_lufs, facts["normalization"], measured)
        return Heard(facts, notes)


def plan_soundtrack(
    dub: Dub, video: MediaSource, clock: Clock, suffix: str, settings: MuxSettings, scratch: Path
) -> Soundtrack:
    """Decide how the dub gets into the film. A wanted loudness is measured first: that is its first pass.

    Raises DubError as reading and measuring do.
    """
    packets = read_packets(dub.path, dub.track)
    background = read_packets(dub.background, 0) if dub.background is not None else None

    # A sample of a film is as loud as the film.
    all_of_it, all_time = (replace(dub, trim=False), clock.whole()) if clock.excerpt else (dub, clock)
    speech = laid_out(all_of_it, packets, all_time)
    measured_at_all = settings.loudness != "keep" or not clock.excerpt
    sounds = {"source": media_input(whole_file(video))["a:0"]} if measured_at_all and _has_sound(video) else {}
    measured: dict[str, Loudness] = {}
    target, notes = None, list[str]()
    if settings.loudness != "keep":
        if background is None:
            sounds["dub"] = speech
        else:
            twice = speech.filter_multi_output("asplit")
            sounds["dub"] = twice[0]
            sounds["mix"] = mixed(twice[1], all_of_it, packets, background, all_time)
        measured = measure(sounds, settings.timeout_s)
        loud = measured["dub" if background is None else "mix"]
        target, notes = _target(settings.loudness, loud, measured.get("source"))
    changed = "its loudness is changed" if target is not None else "a part of it is delivered" if clock.excerpt else ""
    way = choose_way(dub, packets, suffix, settings, changed=changed)
    if way.encoder == "copy":
        stream = copied_input(dub, packets, clock, suffix, scratch, settings.timeout_s)
    else:
        stream = laid_out(dub, packets, clock)
        if background is not None:
            stream = mixed(stream, dub, packets, background, clock)
        if target is not None:
            rate = packets.rate if background is None else mix_rate(packets, background)
            stream = gained(stream, loud, target, rate)
        stream = for_encoder(stream, way.encoder)
    kbps = bit_rate_kbps(way.encoder, [packets, *([] if background is None else [background])], settings)
    later = {} if measured else {**sounds, "dub": speech}
    return Soundtrack(way, stream, packets, target, measured, later, settings.timeout_s, kbps, clock.excerpt, notes)


def _has_sound(video: MediaSource) -> bool:
    """Whether the film's first audio track is one that can be decoded."""
    with open_media(video, TRUSTED) as container:
        return bool(container.streams.audio) and container.streams.audio[0].codec_context is not None


def _target(wanted: str | float, loud: Loudness, source: Loudness | None) -> tuple[float | None, list[str]]:
    """What the sound is brought to; None where it stays as it is, and why."""
    target = (None if source is None else source.integrated_lufs) if wanted == "match" else float(wanted)
    if target is None:
        return None, ["the loudness stays as it is: the source has no sound to match"]
    if loud.integrated_lufs is None:
        return None, ["the loudness stays as it is: the dub is silent"]
    near = abs(target - loud.integrated_lufs) <= NOTHING_TO_DO_LU
    return (None if near else target), []


def _missed(target_lufs: float, how: str, measured: dict[str, Loudness]) -> list[str]:
    notes = []
    loud = measured.get("mix", measured["dub"])
    if how != "linear":
        notes.append(
            f"the dub was compressed on its way from {loud.integrated_lufs} to {target_lufs:g} LUFS: a plain gain "
            f"would lift its peaks of {loud.true_peak_dbtp} dBTP over -1 dBTP"
        )
    got = measured["delivered"].integrated_lufs
    if got is None or abs(got - target_lufs) > TOLERANCE_LU:
        notes.append(f"the dub is delivered at {got} LUFS, not at {target_lufs:g}")
    return notes
