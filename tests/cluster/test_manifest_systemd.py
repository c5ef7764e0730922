"""systemd's units: systemd itself reads them, and their timer fires when the cron expression says."""

import os
import re
import shlex
import shutil
import subprocess
import time
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
import typer.main
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.cli import joined
from cluster.deploy.cron import on_calendar, parse_cron, shortest_gap_s
from cluster.deploy.systemd import service, timer
from tests.cluster.deployed import options

_ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(_ANALYZE is None, reason="systemd-analyze is not installed here")
_HERE = {}
_THERE = {"systemd": {"address": "http://head:8265"}}


def _line(unit, key):
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{key}=")]


@needs_systemd
@pytest.mark.parametrize("way", [_HERE, _THERE], ids=["run here", "submit"])
def test_systemd_takes_the_units(tmp_path, way):
    program = tmp_path / "bin" / "dubline"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    chosen = options(
        **{**way, "systemd": {**way.get("systemd", {}), "prefix": str(tmp_path), "user": "root"}},
        job={"overrides": ["encode.preset=veryfast"]},
        env={"HTTPS_PROXY": "http://proxy:3128/%20"},
    )
    (tmp_path / "dubline-nightly.service").write_text(service(chosen))
    (tmp_path / "dubline-nightly.timer").write_text(timer(chosen))
    units = [str(tmp_path / f"dubline-nightly.{kind}") for kind in ("service", "timer")]
    done = subprocess.run([_ANALYZE, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    assert "dubline" not in done.stderr, done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(("way", "command"), [(_HERE, "run"), (_THERE, "submit")], ids=["run here", "submit"])
def test_what_a_unit_runs_is_a_command_line_that_dubline_reads(way, command):
    chosen = options(**way, job={"overrides": ["speech.voice=a$b%c"]})
    (line,) = _line(service(chosen), "ExecStart")
    words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]
    assert words[:2] == ["/opt/dubline/bin/dubline", command]
    words = [word.replace("${NIGHT}", "20270101-220000") for word in words]
    read = typer.main.get_command(joined()).commands[command].make_context(command, words[2:]).params
    assert (read["manifest"], read["overrides"]) == ("s3://bucket/night.jsonl", ["speech.voice=a$b%c"])


@pytest.mark.parametrize("way", [_HERE, _THERE], ids=["run here", "submit"])
def test_a_night_that_failed_or_reached_its_end_is_not_started_again_and_a_stopped_one_is_no_failure(way):
    unit = service(options(**way))
    assert _line(unit, "RestartPreventExitStatus") == ["2 130 SIGTERM"]
    assert _line(unit, "SuccessExitStatus") == ["130"]
    assert _line(unit, "TimeoutStartSec") == ["36000"]


@pytest.mark.parametrize(
    ("cron", "hours", "retries", "night_s"),
    [
        ("0 22 * * *", 10, 1, 2 * 36120),  # its tries, each with a pause
        ("0 22 * * *", 20, 1, 0.9 * 86400),
        ("0 0,4 * * *", 3, 5, 0.9 * 4 * 3600),
        ("*/20 * * * *", 10, 1, 0.9 * 1200),
    ],
)
def test_the_next_night_is_no_further_try_of_the_last_one(cron, hours, retries, night_s):
    """systemd refuses a start beyond the burst within the interval: also the timer's next one."""
    unit = service(options(schedule={"cron": cron}, job={"hours": hours, "retries": retries}))
    assert _line(unit, "StartLimitIntervalSec") == [str(round(night_s))]
    assert _line(unit, "StartLimitBurst") == [str(retries + 1)]


def test_the_tries_of_a_night_have_one_name_and_those_of_the_next_another(tmp_path):
    unit = service(options(**_THERE))
    (line,) = _line(unit, "ExecStartPre")
    shell, flag, script = (word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line))
    script = script.replace("/run/dubline-nightly", str(tmp_path)).replace("%S", "%S%N")
    told = tmp_path / "night"
    assert _line(unit, "EnvironmentFile")[1] == "-/run/dubline-nightly/night"

    def name():
        subprocess.run([shell, flag, script], check=True)
        return re.fullmatch(r"NIGHT=(\d{8}-\d{15})\n", told.read_text()).group(1)

    first = name()
    assert name() == first
    began = time.time() - int(_line(unit, "StartLimitIntervalSec")[0])
    os.utime(told, (began + 60, began + 60))
    assert name() == first
    os.utime(told, (began - 120, began - 120))  # left behind by a night that was given up
    assert name() != first


def test_a_machine_that_dubs_by_itself_needs_no_name():
    unit = service(options())
    assert "NIGHT" not in unit


def test_the_sockets_of_ray_fit_where_they_lie_whatever_the_unit_is_called():
    unit = service(options(name="n" * 40))
    (folder,) = re.findall(r"RAY_TMPDIR=([^\s\"]+)", unit)
    assert len(f"{folder}/ray/session_2026-03-14_22-00-00_123456_1234567/sockets/plasma_store") <= 107  # AF_UNIX


def test_the_token_is_a_credential_and_no_variable():
    unit = service(options(**_THERE))
    assert _line(unit, "LoadCredential") == ["ray-token:/etc/dubline/dubline-nightly.token"]
    assert "RAY_AUTH_TOKEN_PATH=%d/ray-token" in unit
    assert "RAY_AUTH_TOKEN=" not in unit


def test_a_suspended_schedule_has_nothing_that_could_be_enabled():
    assert "[Install]" not in timer(options(schedule={"suspend": True}))


def _field(low, high):
    number = st.integers(low, high)
    ends = st.tuples(number, number).map(sorted)
    return st.one_of(
        st.just("*"),
        number.map(str),
        st.lists(number, min_size=1, max_size=3).map(lambda values: ",".join(map(str, values))),
        ends.map(lambda pair: f"{pair[0]}-{pair[1]}"),
        st.integers(1, high).map(lambda step: f"*/{step}"),
        st.tuples(ends, st.integers(1, 5)).map(lambda drawn: f"{drawn[0][0]}-{drawn[0][1]}/{drawn[1]}"),
    )


def _fires(cron, moment):
    """Cron's own rule, written down a second time."""

    def fits(values, value):
        return values is None or value in values

    day, weekday = fits(cron.days, moment.day), fits(cron.weekdays, (moment.weekday() + 1) % 7)
    both = cron.days is not None and cron.weekdays is not None
    on_day = (day or weekday) if both else (day and weekday)
    return (
        fits(cron.minutes, moment.minute)
        and fits(cron.hours, moment.hour)
        and fits(cron.months, moment.month)
        and on_day
    )


@needs_systemd
@settings(max_examples=25)
@given(st.tuples(_field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12), _field(0, 6)).map(" ".join))
def test_a_timer_fires_first_when_cron_would(text):
    cron, begin = parse_cron(text), datetime(2027, 1, 1)
    specs = on_calendar(cron, "UTC")
    command = [_ANALYZE, "calendar", f"--base-time={begin:%Y-%m-%d %H:%M:%S} UTC", *specs]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env={"TZ": "UTC"}).stdout
    found = re.findall(r"Next elapse: \w+ (\S+ \S+) UTC", told)
    first = min(datetime.fromisoformat(each) for each in found) if found else None
    times = [(hour, minute) for hour in cron.hours or range(24) for minute in cron.minutes or range(60)]
    hour, minute = times[0]  # a day that fits has all of them
    moments = (begin + timedelta(days=n, hours=hour, minutes=minute) for n in range(366))
    expected = next((moment for moment in moments if _fires(cron, moment)), None)
    if expected is None:  # the thirtieth of February, or not in this year
        assert first is None or first.year > 2027
    elif expected > begin:
        assert first == expected
    else:  # «next» is after the moment itself
        assert _fires(cron, first)


_NONSENSE = [
    "",
    "* * * *",
    "0 22 * * * *",
    "60 * * * *",
    "* 24 * * *",
    "* * 0 * *",
    "* * * 13 *",
    "5-1 * * * *",
    "1,,2 * * * *",
    "-5 * * * *",
    "1-2-3 * * * *",
    "*/0 * * * *",
    "*/-1 * * * *",
    "*/99999 * * * *",
    "1.5 * * * *",
    "\u0661 * * * *",
    "0 22 * * 7",  # Sunday elsewhere; Kubernetes takes 0 to 6
    "0 22 * * fri-sun",
    "0 22 * * monday",
    "0 22 L * *",
    "0 22 30 2 *",
    "0 22 31 4,6,9,11 *",
    "@every 1h",
    "@reboot",
    "@nightly",
    "TZ=Europe/Berlin 0 22 * * *",
]


@pytest.mark.parametrize("text", _NONSENSE)
def test_what_is_no_cron_expression_or_never_comes_is_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        parse_cron(text)


@pytest.mark.parametrize(
    ("text", "calendar"),
    [
        ("*/1 * * * *", ["*-*-* *:*:00 UTC"]),
        ("0 2 * * MON-FRI", ["Mon,Tue,Wed,Thu,Fri *-*-* 02:00:00 UTC"]),
        ("0 2 * * 1-5/2", ["Mon,Wed,Fri *-*-* 02:00:00 UTC"]),
        ("0 2 * * 1/2", ["Mon,Wed,Fri *-*-* 02:00:00 UTC"]),
        ("50/5 2 * * *", ["*-*-* 02:50,55:00 UTC"]),
        ("0,30 20-22,2 ? * *", ["*-*-* 02,20,21,22:00,30:00 UTC"]),
        ("0 2 1 jan,DEC *", ["*-01,12-01 02:00:00 UTC"]),
        ("0 2 29 2 *", ["*-02-29 02:00:00 UTC"]),
        ("0 2 13 * fri", ["*-*-13 02:00:00 UTC", "Fri *-*-* 02:00:00 UTC"]),  # either day
        ("0 2 */1 * fri", ["Fri *-*-* 02:00:00 UTC"]),  # a star is no day
        ("0 2 */10 * fri", ["*-*-01,11,21,31 02:00:00 UTC", "Fri *-*-* 02:00:00 UTC"]),  # but one with a step is
        ("@yearly", ["*-01-01 00:00:00 UTC"]),
        ("@monthly", ["*-*-01 00:00:00 UTC"]),
        ("@weekly", ["Sun *-*-* 00:00:00 UTC"]),
        ("@daily", ["*-*-* 00:00:00 UTC"]),
        ("@hourly", ["*-*-* *:00:00 UTC"]),
    ],
)
def test_what_systemd_is_told(text, calendar):
    assert on_calendar(parse_cron(text), "UTC") == calendar
    if _ANALYZE:
        for line in calendar:
            subprocess.run([_ANALYZE, "calendar", line], check=True, capture_output=True)


@given(st.tuples(_field(0, 59), _field(0, 23)).map(" ".join))
def test_the_shortest_time_between_two_moments(text):
    cron = parse_cron(f"{text} * * *")
    moments = [m for m in (datetime(2027, 1, 1) + timedelta(minutes=n) for n in range(2 * 1440)) if _fires(cron, m)]
    gaps = [after - before for before, after in pairwise(moments)]
    assert shortest_gap_s(cron) == min(gaps).total_seconds()
