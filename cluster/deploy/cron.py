"""Cron expressions as Kubernetes reads them (github.com/robfig/cron, `ParseStandard`): checked, and said again as
systemd says them."""

import re
from dataclasses import dataclass
from typing import Final

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: Final = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),  # 7 for Sunday is one of other crons
)
_NAMED: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_PART: Final = re.compile(r"([*?]|(\w+)(?:-(\w+))?)(?:/(\d{1,4}))?", re.ASCII)
_LONGEST: Final = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
"""Days of the months that have fewer than 31."""


@dataclass(frozen=True)
class Cron:
    """The values of a cron expression's five fields; None: every one (`*`, `*/1`).

    That is not the same as a list of all: of two day fields that are given either may fit (`on_calendar`).
    """

    minutes: tuple[int, ...] | None
    hours: tuple[int, ...] | None
    days: tuple[int, ...] | None
    months: tuple[int, ...] | None
    weekdays: tuple[int, ...] | None
    """0 to 6, 0 is Sunday."""


def parse_cron(text: str) -> Cron:
    """A cron expression's five fields, or a name like `@daily`. Raises ValueError, also for moments that never come."""
    fields = _NAMED.get(text.strip(), text).split()
    if len(fields) != len(_FIELDS):
        names = ", ".join(_NAMED)
        raise ValueError(f"{text!r} is not «minute hour day month weekday», such as 0 22 * * *, nor one of {names}")
    cron = Cron(*(_values(field, *known) for field, known in zip(fields, _FIELDS, strict=True)))
    longest = max(_LONGEST.get(month, 31) for month in cron.months or range(1, 13))
    if cron.days is not None and cron.weekdays is None and min(cron.days) > longest:
        raise ValueError(f"{text!r}: such a day never comes")
    return cron


def shortest_gap_s(cron: Cron) -> int:
    """Seconds between two of its moments, at least."""
    moments = [60 * hour + minute for hour in cron.hours or range(24) for minute in cron.minutes or range(60)]
    following = [*moments[1:], moments[0] + 24 * 60]
    return 60 * min(after - before for before, after in zip(moments, following, strict=True))


def _values(field: str, what: str, low: int, high: int, names: tuple[str, ...]) -> tuple[int, ...] | None:
    values: set[int] = set()
    every = False
    for part in field.split(","):
        found = _PART.fullmatch(part)
        if not found:
            raise ValueError(f"{part!r} is no {what} of a cron expression")
        whole, first, last, step = found.groups()
        star = whole in ("*", "?")
        begin = low if star else _number(first, low, names)
        # `5/10` is every ten from five on
        end = high if star or (step and not last) else _number(last or first, low, names)
        if not low <= begin <= end <= high or (step and not int(step)):
            raise ValueError(f"{part!r}: a {what} is {low} to {high}, ranges go up and steps are 1 or more")
        values.update(range(begin, end + 1, int(step or 1)))
        every = every or (star and int(step or 1) == 1)
    return None if every else tuple(sorted(values))


def _number(text: str, low: int, names: tuple[str, ...]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + low
    if not text.isdecimal():
        raise ValueError(f"{text!r} is no number or name of a cron expression")
    return int(text)


def on_calendar(cron: Cron, time_zone: str) -> list[str]:
    """The `OnCalendar=` values of a systemd timer for the same moments.

    Cron takes a day that fits either of its two day fields when both are given, systemd one that fits both: then
    there are two lines.
    """
    date = f"*-{_listed(cron.months)}-{{}}"
    time = f"{_listed(cron.hours)}:{_listed(cron.minutes)}:00 {time_zone}"
    weekdays = "" if cron.weekdays is None else ",".join(_DAYS[day].capitalize() for day in cron.weekdays) + " "
    if cron.weekdays is not None and cron.days is not None:
        return [f"{date.format(_listed(cron.days))} {time}", f"{weekdays}{date.format('*')} {time}"]
    return [f"{weekdays}{date.format(_listed(cron.days))} {time}"]


def _listed(values: tuple[int, ...] | None) -> str:
    return "*" if values is None else ",".join(f"{value:02d}" for value in values)
