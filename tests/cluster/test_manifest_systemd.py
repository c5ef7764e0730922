"""systemd's units: systemd itself reads them, and their timer fires when the cron expression says."""

import re
import shlex
import shutil
import subprocess
from datetime import datetime, timedelta

import pytest
import typer.main
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.cli import joined
from cluster.deploy.cron import on_calendar, parse_cron
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
    read = typer.main.get_command(joined()).commands[command].make_context(command, words[2:]).params
    assert (read["manifest"], read["overrides"]) == ("s3://bucket/night.jsonl", ["speech.voice=a$b%c"])


@pytest.mark.parametrize("way", [_HERE, _THERE], ids=["run here", "submit"])
def test_a_night_that_failed_or_reached_its_end_is_not_started_again_and_a_stopped_one_is_no_failure(way):
    unit = service(options(**way))
    assert _line(unit, "RestartPreventExitStatus") == ["2 130 SIGTERM"]
    assert _line(unit, "SuccessExitStatus") == ["130"]
    assert _line(unit, "TimeoutStartSec") == ["36000"]


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
@given(st.tuples(_field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12), _field(0, 7)).map(" ".join))
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


@pytest.mark.parametrize("text", ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *"])
def test_what_is_no_cron_expression_is_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        parse_cron(text)


def test_names_of_days_and_months_are_read():
    cron = parse_cron("0 22 * jan,DEC mon-fri")
    assert (cron.months, cron.weekdays) == ((1, 12), (1, 2, 3, 4, 5))
    assert parse_cron("0 0 * * 7").weekdays == (0,)
