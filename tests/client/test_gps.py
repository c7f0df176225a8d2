"""GPS seconds and UTC, by the leap seconds; what a caller says of a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pytest

from measurand.client.errors import InvalidArgument
from measurand.client.gps import event_time, gps_of, utc_of


@pytest.mark.parametrize(
    ("gps", "utc"),
    [
        (0, datetime(1980, 1, 6, tzinfo=UTC)),
        (1126259462, datetime(2015, 9, 14, 9, 50, 45, tzinfo=UTC)),
        (1187008882.4, datetime(2017, 8, 17, 12, 41, 4, 400_000, tzinfo=UTC)),
        (Decimal("1187008882.430001"), datetime(2017, 8, 17, 12, 41, 4, 430_001, tzinfo=UTC)),
        ("1187008882.43", datetime(2017, 8, 17, 12, 41, 4, 430_000, tzinfo=UTC)),
        (np.float64(1126259462.5), datetime(2015, 9, 14, 9, 50, 45, 500_000, tzinfo=UTC)),
        (np.int32(46828799), datetime(1981, 6, 30, 23, 59, 59, tzinfo=UTC)),
        (46828801, datetime(1981, 7, 1, tzinfo=UTC)),
        (1167264016, datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (1167264017, datetime(2017, 1, 1, tzinfo=UTC)),  # 23:59:60, which no datetime can say
        (1167264018, datetime(2017, 1, 1, tzinfo=UTC)),
    ],
)
def test_gps_seconds_are_told_in_utc(gps: float, utc: datetime) -> None:
    assert utc_of(gps) == utc


def test_there_and_back_is_the_same_on_every_day() -> None:
    day = datetime(1980, 1, 6, 12, tzinfo=UTC)
    while day < datetime(2026, 11, 21, tzinfo=UTC):
        assert utc_of(gps_of(day)) == day
        day += timedelta(days=1)


@pytest.mark.parametrize("gps", [float("inf"), float("nan"), -1, "soon", None.__class__, 1e300])
def test_what_is_no_time_is_refused(gps: float) -> None:
    with pytest.raises(InvalidArgument) as refused:
        utc_of(gps)
    assert refused.value.details["field"] == "gps"


def test_times_of_every_kind_are_the_same_instant() -> None:
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    kinds = (
        noon,
        noon.astimezone(timezone(timedelta(hours=5))),
        np.datetime64("2026-11-21T12:00"),
        noon.timestamp(),
        int(noon.timestamp()),
    )
    for time in kinds:
        stamp = event_time(time, None)
        assert stamp is not None and stamp.ToDatetime(UTC) == noon
    assert event_time(None, None) is None


@pytest.mark.parametrize("time", [np.datetime64("NaT"), 1e30, "now", [1]])
def test_what_is_no_instant_is_refused(time: object) -> None:
    with pytest.raises(InvalidArgument):
        event_time(time, None)
