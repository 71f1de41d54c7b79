//! Unix milliseconds as a date and a time of day, in UTC or at a fixed offset from it. For people only.

const DAY_MS: u64 = 24 * 3600 * 1000;
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A date and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    days: u64,
    year: u64,
    /// 1 to 12.
    month: u64,
    day: u64,
    seconds: u64,
}

impl Calendar {
    /// These Unix milliseconds in UTC.
    pub fn utc(wall_ms: u64) -> Self {
        let days = wall_ms / DAY_MS;
        // Days since 1 March of the year 0, in eras of 400 years: the leap day is the last day of such a year.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        Self {
            days,
            year: year + era * 400 + u64::from(month <= 2),
            month,
            day: of_year - (153 * from_march + 2) / 5 + 1,
            seconds: wall_ms % DAY_MS / 1000,
        }
    }

    /// The same at an offset from UTC, in seconds.
    pub fn at_offset(wall_ms: u64, offset_seconds: i64) -> Self {
        let by = offset_seconds.unsigned_abs().saturating_mul(1000);
        Self::utc(if offset_seconds < 0 {
            wall_ms.saturating_sub(by)
        } else {
            wall_ms.saturating_add(by)
        })
    }

    /// `14:02:11`.
    pub fn clock(self) -> String {
        let (hour, minute, second) = self.time();
        format!("{hour:02}:{minute:02}:{second:02}")
    }

    /// `14:02:11` of the same day, else `yesterday 22:41` or `23 Nov 17:20`.
    pub fn near(self, now: Self) -> String {
        let (hour, minute, _) = self.time();
        if self.days == now.days {
            self.clock()
        } else if self.days + 1 == now.days {
            format!("yesterday {hour:02}:{minute:02}")
        } else {
            let month = usize::try_from(self.month - 1).unwrap_or(0);
            let month = MONTHS.get(month).copied().unwrap_or_default();
            format!("{} {month} {hour:02}:{minute:02}", self.day)
        }
    }

    /// `2026-11-26T14:02:11Z`, of a time in UTC.
    pub fn iso(self) -> String {
        let Self {
            year, month, day, ..
        } = self;
        format!("{year:04}-{month:02}-{day:02}T{}Z", self.clock())
    }

    fn time(self) -> (u64, u64, u64) {
        let of_day = self.seconds;
        (of_day / 3600, of_day / 60 % 60, of_day % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar_also_on_leap_days() {
        for (wall_ms, iso) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59Z"),
            (1_795_701_731_000, "2026-11-26T14:02:11Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Calendar::utc(wall_ms).iso(), iso);
        }
    }

    #[test]
    fn a_time_of_another_day_names_the_day() {
        let now = Calendar::utc(1_795_701_731_000);
        let before = |hours: u64| Calendar::utc(1_795_701_731_000 - hours * 3_600_000).near(now);
        assert_eq!(before(2), "12:02:11");
        assert_eq!(before(15), "yesterday 23:02");
        assert_eq!(before(72), "23 Nov 14:02");
    }

    #[test]
    fn an_offset_moves_the_clock() {
        let at = |offset| Calendar::at_offset(1_795_701_731_000, offset).clock();
        assert_eq!(
            (at(3600), at(-5400)),
            ("15:02:11".into(), "12:32:11".into())
        );
    }
}
