//! Usage: what is to be paid for. A record for each time that an instance's machine ran, reported month by month.

use std::fmt;
use std::str::FromStr;

use crate::{ImageId, InstanceId, Money, ParseIdError, RegionId, Timestamp, Uin};

const MILLIS_PER_HOUR: u128 = 60 * 60 * 1000;

/// A time for which an instance's machine ran, at one price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRecord {
    /// The instance.
    pub instance: InstanceId,
    /// Who pays.
    pub owner: Uin,
    /// Where it ran.
    pub region: RegionId,
    /// The name of the instance's type.
    pub instance_type: String,
    /// The image of its system disk.
    pub image: ImageId,
    /// The image whose fee is paid: that one, or the one it was made from.
    pub fee_image: ImageId,
    /// Who earns the fee.
    pub provider: Uin,
    /// What the machine costs.
    pub machine_per_hour: Money,
    /// What the image adds.
    pub image_per_hour: Money,
    /// Since when it ran.
    pub started_at: Timestamp,
    /// Until when; it still runs, where absent.
    pub ended_at: Option<Timestamp>,
}

/// What an account pays for one instance in a month, at one price.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the records that it sums up")]
pub struct UsageLine {
    pub owner: Uin,
    pub region: RegionId,
    pub instance: InstanceId,
    pub instance_type: String,
    pub image: ImageId,
    pub fee_image: ImageId,
    pub provider: Uin,
    pub machine_per_hour: Money,
    pub image_per_hour: Money,
    /// For how long its machine ran, in milliseconds.
    pub millis: u64,
}

impl UsageLine {
    /// What the machine costs.
    pub fn machine_amount(&self) -> Money {
        amount(self.machine_per_hour, self.millis)
    }

    /// What the image adds.
    pub fn image_amount(&self) -> Money {
        amount(self.image_per_hour, self.millis)
    }
}

/// What a provider earns with one image in a month, at one price.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the records that it sums up")]
pub struct EarningsLine {
    pub provider: Uin,
    pub region: RegionId,
    pub image: ImageId,
    pub image_per_hour: Money,
    /// How many instances paid it.
    pub instances: u64,
    /// For how long their machines ran together, in milliseconds.
    pub millis: u64,
    /// What they paid together.
    pub amount: Money,
}

/// A price per hour for a time, rounded to the nearest smallest amount.
fn amount(per_hour: Money, millis: u64) -> Money {
    let exact = u128::from(per_hour.0) * u128::from(millis);
    Money(u64::try_from((exact + MILLIS_PER_HOUR / 2) / MILLIS_PER_HOUR).unwrap_or(u64::MAX))
}

/// Sums up what was paid, image by image: lines without a fee earn nothing.
pub fn earnings(lines: &[UsageLine]) -> Vec<EarningsLine> {
    let mut paid: Vec<&UsageLine> =
        lines.iter().filter(|line| line.image_per_hour > Money::default()).collect();
    paid.sort_by_key(|line| (source_of(line), &line.instance));
    paid.chunk_by(|one, other| source_of(one) == source_of(other)).map(earned).collect()
}

fn source_of(line: &UsageLine) -> (Uin, &RegionId, &ImageId, Money) {
    (line.provider, &line.region, &line.fee_image, line.image_per_hour)
}

/// What lines of one source brought, which are sorted by their instances.
fn earned(lines: &[&UsageLine]) -> EarningsLine {
    let (provider, region, image, image_per_hour) = source_of(lines[0]);
    EarningsLine {
        provider,
        region: region.clone(),
        image: image.clone(),
        image_per_hour,
        instances: lines.chunk_by(|one, other| one.instance == other.instance).count() as u64,
        millis: lines.iter().map(|line| line.millis).sum(),
        amount: lines.iter().map(|line| line.image_amount()).fold(Money::default(), Money::plus),
    }
}

/// A month of the calendar, in UTC: what a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    year: i16,
    month: i8,
}

impl Month {
    /// The month that a time is in.
    pub fn of(time: Timestamp) -> Self {
        let time = jiff::Timestamp::from_millisecond(time.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let date = time.to_zoned(jiff::tz::TimeZone::UTC).date();
        Self { year: date.year(), month: date.month() }
    }

    /// Its first moment.
    pub fn start(self) -> Timestamp {
        let start = jiff::civil::Date::new(self.year, self.month, 1).ok();
        let start = start.and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok());
        // A month that was read or taken from a time has a first day.
        Timestamp(start.map_or(0, |start| start.timestamp().as_millisecond()))
    }

    /// The first moment after it.
    pub fn end(self) -> Timestamp {
        let next = if self.month == 12 {
            Self { year: self.year + 1, month: 1 }
        } else {
            Self { year: self.year, month: self.month + 1 }
        };
        next.start()
    }
}

/// `2026-11`.
impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl FromStr for Month {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('-').filter(|(year, month)| year.len() == 4 && month.len() == 2);
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let parsed = parts
            .filter(|(year, month)| digits(year) && digits(month))
            .and_then(|(year, month)| Some(Self { year: year.parse().ok()?, month: month.parse().ok()? }));
        parsed.filter(|month| (1..=12).contains(&month.month) && month.year >= 1970).ok_or_else(|| {
            ParseIdError {
                text: text.to_owned(),
                kind: "Month",
                expected: "a year and a month such as 2026-11",
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(instance: &InstanceId, image: &ImageId, per_hour: u64, millis: u64) -> UsageLine {
        UsageLine {
            owner: Uin(100_000_000_001),
            region: RegionId::from_trusted("ap-guangzhou"),
            instance: instance.clone(),
            instance_type: "S5.SMALL1".to_owned(),
            image: image.clone(),
            fee_image: image.clone(),
            provider: Uin(100_000_000_002),
            machine_per_hour: Money(10_000),
            image_per_hour: Money(per_hour),
            millis,
        }
    }

    #[test]
    fn months_begin_and_end_where_the_calendar_says() {
        let month: Month = "2024-02".parse().expect("a month");
        assert_eq!(
            (month.start().to_string(), month.end().to_string()),
            ("2024-02-01T00:00:00Z".to_owned(), "2024-03-01T00:00:00Z".to_owned())
        );
        assert_eq!(Month::of(month.start()), month);
        assert_eq!(Month::of(Timestamp(month.end().0 - 1)), month);
        assert_eq!(Month::of(month.end()).to_string(), "2024-03");
        assert_eq!("2025-12".parse::<Month>().expect("a month").end().to_string(), "2026-01-01T00:00:00Z");
        for wrong in ["", "2024", "2024-13", "2024-00", "24-01", "2024-1", "2024-01-01", "+024-01", "1969-12"]
        {
            assert!(wrong.parse::<Month>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn amounts_go_by_time_and_are_rounded_once() {
        let (instance, image) = (InstanceId::random(), ImageId::random());
        let used = line(&instance, &image, 3, 30 * 60 * 1000);
        assert_eq!((used.machine_amount(), used.image_amount()), (Money(5_000), Money(2)));
        assert_eq!(line(&instance, &image, u64::MAX, u64::MAX).image_amount(), Money(u64::MAX));
    }

    #[test]
    fn earnings_are_what_the_lines_say_together() {
        let (one, other, image, free) =
            (InstanceId::random(), InstanceId::random(), ImageId::random(), ImageId::random());
        let hour = 60 * 60 * 1000;
        let lines = [
            line(&one, &image, 100, hour),
            line(&one, &image, 100, hour),
            line(&other, &image, 100, hour / 2),
            line(&other, &image, 200, hour),
            line(&other, &free, 0, hour),
        ];
        let earned = earnings(&lines);
        let summed: Vec<_> = earned.iter().map(|line| (line.instances, line.millis, line.amount.0)).collect();
        assert_eq!(summed, [(2, hour * 5 / 2, 250), (1, hour, 200)]);
    }
}
