"""A systemd service and its timer: every night on one machine, or from one machine to a cluster."""

import re
from typing import Final

from cluster.deploy.commands import run_command, submit_command
from cluster.deploy.cron import on_calendar, parse_cron, shortest_gap_s
from cluster.deploy.options import DeployOptions
from cluster.deploy.sizes import cache_gb

_STOP_S: Final = 120
"""Seconds for what is under way to end after SIGTERM; the run then writes its report (exit status 130)."""
_PAUSE_S: Final = 120
"""Seconds between two tries: as long as `dubline submit` waits for a head that is gone."""
_NIGHT: Final = "NIGHT"
"""Variable with the moment that a night began at, its job's name."""
_PLAIN: Final = re.compile(r"[\w@%+=:,./$-]+")
Unit = dict[str, list[tuple[str, str]]]


def service(options: DeployOptions) -> str:
    """The unit that runs once."""
    systemd, name = options.systemd, options.name
    submits = bool(systemd.address)
    if submits:
        command = submit_command(options, systemd.address, systemd.prefix)
    else:
        command = run_command(options, systemd.prefix)
    words = [_word(word) for word in [f"{systemd.prefix}/bin/dubline", *command[1:]]]
    if submits:
        words.insert(2, f"--submission-id={name}-${{{_NIGHT}}}")
    memory = f"{systemd.memory_gib}G" if systemd.memory_gib is not None else "80%"
    night_s = _night_s(options)
    unit = [
        ("Description", f"dubline: {name}"),
        ("Wants", "network-online.target"),
        ("After", "network-online.target"),
        ("StartLimitIntervalSec", str(night_s)),
        ("StartLimitBurst", str(options.job.retries + 1)),
    ]
    lines = [
        ("Type", "oneshot"),
        ("ExecStart", " ".join(words)),
        ("User", systemd.user),
        ("SyslogIdentifier", name),
        ("EnvironmentFile", f"-/etc/dubline/{name}.env"),
        *(("Environment", _quoted(f"{key}={value}")) for key, value in _environment(options).items()),
        # Once more where the driver died or the cluster could not be reached (1); not when every film failed (2), nor
        # when it was ended at `job.hours`: a run then ends with 130, who follows a job by the signal.
        ("Restart", "on-failure"),
        ("RestartSec", str(_PAUSE_S)),
        ("RestartPreventExitStatus", "2 130 SIGTERM"),
        ("SuccessExitStatus", "130"),
        ("TimeoutStartSec", str(round(options.job.hours * 3600))),
        ("TimeoutStopSec", str(_STOP_S)),
        ("KillMode", "mixed"),  # the driver first: it ends its workers
        ("MemoryMax", memory),
        ("LimitNOFILE", "65536"),
        ("TasksMax", "infinity"),
        ("Nice", "10"),
        ("IOSchedulingClass", "idle"),
        ("CacheDirectory", name),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "full"),
        ("ProtectControlGroups", "yes"),
        ("ProtectKernelModules", "yes"),
        ("ProtectKernelTunables", "yes"),
        ("PrivateTmp", "yes"),
        ("RestrictSUIDSGID", "yes"),
    ]
    if submits:
        lines += [("LoadCredential", f"ray-token:/etc/dubline/{name}.token"), *_named_night(name, night_s)]
    return _text({"Unit": unit, "Service": lines})


def timer(options: DeployOptions) -> str:
    """The unit that starts it."""
    schedule = options.schedule
    moments = on_calendar(parse_cron(schedule.cron), schedule.time_zone)
    lines = [*(("OnCalendar", moment) for moment in moments), ("Persistent", "true"), ("AccuracySec", "1min")]
    unit: Unit = {"Unit": [("Description", f"dubline: when {options.name} runs")], "Timer": lines}
    if not schedule.suspend:  # without it `systemctl enable` has nothing to do
        unit["Install"] = [("WantedBy", "timers.target")]
    return _text(unit)


def _night_s(options: DeployOptions) -> int:
    """Seconds from a night's start within which another start is a further try of it.

    Long enough for all its tries, shorter than the time to the next night, whose start must not count as one.
    """
    tries = options.job.retries + 1
    gap = shortest_gap_s(parse_cron(options.schedule.cron))
    # 0.9: a day of 23 hours, and a timer that is a minute late.
    return round(min(tries * (options.job.hours * 3600 + _PAUSE_S), 0.9 * gap))


def _named_night(name: str, night_s: int) -> list[tuple[str, str]]:
    """Gives all tries of a night one name, so that a restarted unit follows the job that is there.

    The name is in a file, which goes when a try has ended well. An old one, of a night that was given up, is not taken.
    """
    folder = f"/run/{name}"
    told = f"{folder}/{_NIGHT.lower()}"
    fresh = f"find {folder} -name {_NIGHT.lower()} -mmin -{night_s // 60 + 1} | grep -q ."
    script = f"{fresh} || date -u +{_NIGHT}=%Y%m%d-%H%M%S > {told}"
    return [
        ("RuntimeDirectory", name),
        ("RuntimeDirectoryPreserve", "yes"),
        ("ExecStartPre", f"/bin/sh -c {_word(script)}"),
        ("EnvironmentFile", f"-{told}"),
        ("ExecStartPost", f"/bin/rm -f {told}"),
    ]


def _environment(options: DeployOptions) -> dict[str, str]:
    env = {key: value.replace("%", "%%") for key, value in options.env.items()}
    if options.systemd.address:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "%d/ray-token", **env}
    scratch = options.cluster.cpu.scratch_gib
    return {
        "TMPDIR": f"/var/cache/{options.name}",
        # Ray's sockets want a short path, what it spills a disk (/tmp may be memory), and all of it goes with the unit.
        "RAY_TMPDIR": "/var/tmp",  # noqa: S108 - the unit's own (PrivateTmp)
        "DUBLINE_CACHE_GB": str(cache_gb(scratch)),
        "DUBLINE_WEIGHTS": options.weights.folder or f"{options.systemd.prefix}/weights",
        **env,
    }


def _word(text: str) -> str:
    """A word of a command line as systemd reads it, to whom `%` and `$` mean something."""
    return _quoted(text.replace("%", "%%").replace("$", "$$"))


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _text(unit: Unit) -> str:
    parts = [
        "\n".join([f"[{section}]", *(f"{key}={value}" for key, value in lines)]) for section, lines in unit.items()
    ]
    return "\n\n".join(["# Made by `dubline manifest systemd`; docs/deploy.md.", *parts]) + "\n"
