"""The only place where media is opened: demuxers and protocols from fixed lists, caps before decoding.

A file's name says nothing about its content: without the lists a playlist or concat script that calls itself
.mp4 opens other files (reference media.md 5.2, measured).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from stages.errors import DubError
from stages.media.ranges import Blocks, MediaSource
from stages.media.settings import MediaLimits
from stages.media.storage import NO_ROOM, check_file

FORMATS = "mov,matroska,webm,mpegts,avi,wav,mp3,flac,ogg,aac"
"""Demuxers that read one self-contained file."""
PROTOCOLS = "file"


@contextmanager
def open_media(source: MediaSource, limits: MediaLimits | None = None) -> Iterator[InputContainer]:
    """A media file, opened for reading.

    Raises DubError `not_found` when there is no such file, `decode_error` when it is not media of a known
    kind, `unsupported` when it is beyond the limits, `oom` when its header asks for more memory than there is. Errors
    of FFmpeg inside the block become `decode_error`, or `timeout` when the file system does not answer; MemoryError
    stays what it is there. Of a remote file, what its storage fails with goes before all of that, also where FFmpeg
    took it for the file's end.
    """
    limits = limits or MediaLimits()
    with _reading(source) as file:
        try:
            container = av.open(
                file,
                mode="r",
                # max_pixels: probing decodes pictures too, before `_check` can see what it opened.
                options={
                    "protocol_whitelist": PROTOCOLS,
                    "format_whitelist": FORMATS,
                    "max_pixels": str(limits.max_pixels),
                },
                # Waiting for storage has its own limits; what came late but came is no failure.
                timeout=limits.open_timeout_s if isinstance(file, str) else None,
                metadata_errors="replace",
            )
        except MemoryError as error:  # as a rule a table that is said to have billions of entries
            raise DubError(
                "oom", f"{source}: opening it takes more memory than there is; its header may be damaged"
            ) from error
        except (av.error.FFmpegError, ValueError) as error:
            raise _translated(error, source, limits, "not a media file this tool reads") from error
        with container:
            _check(container, source, limits)
            try:
                yield container
            except MemoryError:
                raise
            except av.error.FFmpegError as error:
                if error.errno in NO_ROOM:  # of a file that the block writes; `publishing` names its disk
                    raise
                raise _translated(error, source, limits, "damaged or cut short") from error


@contextmanager
def _reading(source: MediaSource) -> Iterator[str | Blocks]:
    """What FFmpeg reads. What reading it has failed with ends the block, whatever FFmpeg made of it."""
    if isinstance(source, Path):
        check_file(str(source))
        yield f"file:{source}"
        return
    with source.opened() as blocks:
        try:
            yield blocks
        except Exception:
            if blocks.failed is not None:
                raise blocks.failed  # noqa: B904 - the cause is its own
            raise
        if blocks.failed is not None:
            raise blocks.failed


def video_stream(container: InputContainer, source: MediaSource) -> VideoStream:
    """The film's picture: the first video stream that is not a cover image. Raises DubError `no_video`."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    raise DubError("no_video", f"{source}: there is no video stream in it")


def _check(container: InputContainer, source: MediaSource, limits: MediaLimits) -> None:
    if len(container.streams) > limits.max_streams:
        raise DubError("unsupported", f"{source}: {len(container.streams)} streams, at most {limits.max_streams}")
    for video in container.streams.video:
        context = video.codec_context
        if context is None:
            continue
        if context.width * context.height > limits.max_pixels:
            raise DubError(
                "unsupported",
                f"{source}: picture of {context.width}x{context.height} px, at most {limits.max_pixels} px in all "
                "(media.limits.max_pixels)",
            )
        # The header may say less than the coded pictures: the decoder holds them to the cap too.
        context.options = {**context.options, "max_pixels": str(limits.max_pixels)}
    for audio in container.streams.audio:
        if audio.codec_context is not None and audio.codec_context.channels > limits.max_channels:
            raise DubError(
                "unsupported", f"{source}: {audio.codec_context.channels} channels, at most {limits.max_channels}"
            )


def _translated(error: Exception, source: MediaSource, limits: MediaLimits, what: str) -> DubError:
    if isinstance(error, av.error.ExitError):  # how FFmpeg tells that its interrupt callback fired
        return DubError(
            "timeout", f"{source}: no data within {limits.open_timeout_s:g} s (media.limits.open_timeout_s)"
        )
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return DubError("decode_error", f"{source}: {what} ({reason})")
