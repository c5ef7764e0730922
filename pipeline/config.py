"""The settings of a run: every stage's own, composed; presets in configs/*.yaml; `--set a.b=value` on top."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, field_validator

from pipeline.locate import READ
from pipeline.overrides import ConfigError, apply, parse_yaml
from stages.cast.settings import CastSettings
from stages.composite.settings import CompositeSettings
from stages.crops.settings import CropsSettings
from stages.enhance.settings import EnhanceSettings
from stages.faces.settings import FacesSettings
from stages.lips.generators import check_generator
from stages.lips.settings import LipsSettings
from stages.media.encode import EncodeSettings
from stages.media.settings import MediaSettings
from stages.media.storage import is_local, local_path, read_bytes
from stages.mux.settings import MuxSettings
from stages.settings import Settings
from stages.speech.settings import SpeechSettings
from stages.split.settings import SplitSettings

_PRESETS: Final = (Path(__file__).resolve().parents[1] / "configs", Path(sys.prefix) / "share" / "dubline" / "configs")
"""Of a checkout, and of an installed package."""


class RunSettings(Settings):
    """How the work is spread; no pixel depends on it."""

    workers: int | None = Field(None, ge=1, le=1024)
    """Actors of each CPU stage on Ray. Empty: as many as the cluster has room for."""
    films_ahead: int = Field(16, ge=1, le=100_000)
    """On Ray: films that may be under way at once, whatever waits. More are begun only while fewer shards wait than two
    a worker. It bounds what the work folder holds of unfinished films, and how long the first one takes. Raise it where
    opening a film takes minutes and workers stand idle meanwhile."""
    fail_on: Literal["any", "all", "never"] = "any"
    """Which failed films make the exit status 2."""
    overwrite: bool = False
    """Replace outputs that exist. Without it a film whose output this work folder did not make is left alone."""
    commercial: bool = False
    """Refuse to begin when a file of weights is to be loaded whose licence does not clearly allow commercial use.
    Files given by path or URL are known by their content; one that dubline does not know is yours to check."""
    licences_cleared: list[str] = Field([])
    """Names of `dubline weights list` that `commercial` lets pass although their licences are unclear, because you
    have had them checked. A licence that forbids commercial use is not lifted by this."""
    roots: list[str] = Field([])
    """Folders and URL prefixes that every file of a manifest must lie under, links resolved. Empty: no limit, because
    who writes a manifest is as a rule who runs it; set it where manifests come from others. The driver and the worker
    both check. It is no sandbox: a file that is exchanged for a link after the check, or a web server's redirect, is
    followed, so that workers should also run as a user who can read no more."""
    on_shard_failure: Literal["passthrough", "fail_film"] = "passthrough"
    """What becomes of a film when a shard could not be painted (`internal`, `oom`, `timeout`, `crashed`): its frames
    go on as the source has them and the film ships as `ok_passthrough`, or the film fails."""
    max_attempts: int = Field(3, ge=1, le=100)
    """On Ray: how often a row may end its worker's process, on machines that stay alive, until it is given up."""
    deadline_base_s: float = Field(900.0, gt=0)
    """On Ray: seconds one step may work on any cell or shard: loading models and fetching a film to the machine are in
    them. Whoever takes longer hangs, and is ended. Not watched with --executor inline."""
    deadline_per_s: float = Field(120.0, ge=0)
    """Seconds on top for every second of film in the cell or shard: 25 frames at almost 5 s each, what S3FD on one CPU
    core may need at 4K. Far above what is normal, because a hang costs three deadlines and a wrong one the shard. For
    a generator or enhancer on a CPU five times its estimated work comes on top."""
    deadline_film_s: float = Field(14400.0, gt=0)
    """On Ray: seconds that splitting, casting or muxing a whole film may take; more than mux.timeout_s."""
    lease_s: float = Field(120.0, ge=1)
    """Seconds after which a run that gave no sign of life counts as dead to other runs that are to deliver to the same
    outputs; it gives one every quarter of that. A run that ended, or died on the same machine, is known to be over at
    once."""
    lease_wait_s: float = Field(180.0, ge=0)
    """Seconds that a run, when all else is done, waits for films whose outputs another run is at work on; after that
    they end as `held`. More than `lease_s`, so that films of a run that died are taken over."""
    breaker_last: int = Field(20, ge=0, le=10000)
    """Of so many painted shards in a row, less than `breaker_share` may fail; else the run stops, and nothing
    more is tried or shipped unpainted. A run with fewer painted shards is not judged. 0: never."""
    breaker_share: float = Field(0.8, gt=0, le=1)
    """Which share of them."""
    progress_s: float = Field(5.0, gt=0)
    """Seconds between two progress lines where there is no terminal."""
    log: Literal["plain", "json"] | None = None
    """How the driver and the workers log, `plain` or `json`: one object a line, with run, film, cell or shard, stage
    and machine. Empty: $DUBLINE_LOG, else plain."""

    @field_validator("roots")
    @classmethod
    def _absolute(cls, roots: list[str]) -> list[str]:
        """Workers have a folder of their own."""
        for root in roots:
            if not root or (not is_local(root) and root.partition("://")[0].lower() not in READ):
                raise ValueError(f"{root!r} is not a folder or a prefix of {', '.join(s + '://' for s in READ)}")
        return [str(local_path(root).expanduser().absolute()) if is_local(root) else root for root in roots]


class Config(Settings):
    """Everything a run can be told."""

    weights_dir: str | None = None
    """Folder of model weights, the same path on every machine. Empty: $DUBLINE_WEIGHTS, else ~/.cache/dubline."""
    media: MediaSettings = MediaSettings()
    """Opening and decoding."""
    split: SplitSettings = SplitSettings()
    """Cells and shards."""
    speech: SpeechSettings = SpeechSettings()
    """The dub."""
    faces: FacesSettings = FacesSettings()
    """Face detection."""
    cast: CastSettings = CastSettings()
    """Whose lips are painted, and with which box."""
    crops: CropsSettings = CropsSettings()
    """Crops and landmarks."""
    lips: LipsSettings = LipsSettings()
    """The generator."""
    enhance: EnhanceSettings = EnhanceSettings()
    """Who sharpens the redrawn faces."""
    composite: CompositeSettings = CompositeSettings()
    """Blending."""
    encode: EncodeSettings = EncodeSettings()
    """Segments."""
    mux: MuxSettings = MuxSettings()
    """The finished film."""
    run: RunSettings = RunSettings()
    """How the work is spread."""

    @field_validator("lips")
    @classmethod
    def _known(cls, lips: LipsSettings) -> LipsSettings:
        try:
            check_generator(lips.generator)
        except ValueError as error:
            raise ValueError(f"generator {error}") from error
        return lips


def preset(path: str) -> str:
    """A config's path or URL; for `configs/NAME.yaml` that is not in the current folder, where dubline has its own."""
    if not is_local(path) or local_path(path).exists() or Path(path).parent != Path("configs"):
        return path
    return next((str(own) for folder in _PRESETS if (own := folder / Path(path).name).is_file()), path)


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """The config of a YAML file, a path, URL or preset (none: all defaults), with `a.b=value` overrides.

    Raises ConfigError naming every problem with its dotted path, and the nearest known key.
    """
    values: object = {}
    if path is not None:
        try:
            values = parse_yaml(read_bytes(preset(str(path))).decode()) or {}
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: there is no such config file") from error
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: not a YAML file: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must hold keys like `lips:`, not a {type(values).__name__}")
    return apply(Config, values, overrides)
