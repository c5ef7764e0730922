"""Cron expressions, checked, and said again as systemd says them."""

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
    ("day of the week", 0, 7, _DAYS),
)
_PART: Final = re.compile(r"(\*|(\w+)(?:-(\w+))?)(?:/(\d+))?", re.ASCII)


@dataclass(frozen=True)
class Cron:
    """The values of a cron expression's five fields; None: every one (`*`)."""

    minutes: tuple[int, ...] | None
    hours: tuple[int, ...] | None
    days: tuple[int, ...] | None
    months: tuple[int, ...] | None
    weekdays: tuple[int, ...] | None
    """0 to 6, 0 is Sunday."""


def parse_cron(text: str) -> Cron:
    """The five fields of a cron expression, as Kubernetes reads them. Raises ValueError."""
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"{text!r} is not «minute hour day month weekday», such as 0 22 * * *")
    minutes, hours, days, months, weekdays = (
        _values(field, *known) for field, known in zip(fields, _FIELDS, strict=True)
    )
    if weekdays is not None:
        weekdays = tuple(sorted({day % 7 for day in weekdays}))  # 7 is Sunday, too
    return Cron(minutes, hours, days, months, weekdays)


def _values(field: str, what: str, low: int, high: int, names: tuple[str, ...]) -> tuple[int, ...] | None:
    if field == "*":
        return None
    values: set[int] = set()
    for part in field.split(","):
        found = _PART.fullmatch(part)
        if not found:
            raise ValueError(f"{part!r} is no {what} of a cron expression")
        whole, first, last, step = found.groups()
        begin = low if whole == "*" else _number(first, low, names)
        # `5/10` is every ten from five on
        end = high if whole == "*" or (step and not last) else _number(last or first, low, names)
        if not low <= begin <= end <= high or step == "0":
            raise ValueError(f"{part!r}: a {what} is {low} to {high}, ranges go up and steps are 1 or more")
        values.update(range(begin, end + 1, int(step or 1)))
    return tuple(sorted(values))


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
