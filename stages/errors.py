"""The one error a stage raises on purpose: a stable code, and a message that says what to do."""

from typing import Final

from stages.urls import without_secrets

CODES: Final = (
    "ok",
    "ok_passthrough",
    "bad_row",
    "not_found",
    "decode_error",
    "no_video",
    "no_audio",
    "no_face",
    "audio_longer",
    "unsupported",
    "oom",
    "timeout",
    "crashed",
    "weights_missing",
    "disk_full",
    "unreachable",
    "held",
    "internal",
)
"""Everything a film or shard can end with (design section 5)."""


class DubError(Exception):
    """A film or shard cannot go on, for a reason a user can act on.

    `code` is one of `CODES`. The message names the file or field and says what to do; passwords and signatures of the
    URLs in it are left out.
    """

    def __init__(self, code: str, message: str) -> None:
        if code not in CODES:
            raise ValueError(f"unknown code {code!r}")
        self.code, self.message = code, without_secrets(message)
        super().__init__(code, self.message)

    def __str__(self) -> str:
        return self.message
