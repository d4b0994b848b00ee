//! Prices: what an instance of a type costs, and what an image adds to that.

use serde::{Deserialize, Serialize};

/// How many of the smallest amounts make one unit of the currency.
const PARTS_PER_UNIT: u32 = 10_000;

/// An amount of money in ten-thousandths of the currency's unit, the smallest amount that is reckoned with: an hour of
/// a small machine costs less than a hundredth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(pub u64);

impl Money {
    /// So many units of the currency; `None` where that is negative, not a number, too much, or finer than the
    /// smallest amount.
    pub fn of_units(units: f64) -> Option<Self> {
        let parts = units * f64::from(PARTS_PER_UNIT);
        let whole = parts.round();
        // Up to here each whole number has a float of its own.
        let exact = (0.0..=9e15).contains(&whole) && (parts - whole).abs() < 1e-3;
        exact.then_some(Self(whole as u64))
    }

    /// In units of the currency.
    pub fn units(self) -> f64 {
        self.0 as f64 / f64::from(PARTS_PER_UNIT)
    }

    /// The amount so many times.
    pub fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }

    /// Both amounts together.
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// In units of the currency, to the last place that is reckoned with: `0.1200`.
impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = u64::from(PARTS_PER_UNIT);
        write!(f, "{}.{:04}", self.0 / parts, self.0 % parts)
    }
}

/// What something costs, by the way it is paid for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// For each hour, paid afterwards.
    pub per_hour: Money,
    /// For each month, paid in advance.
    pub per_month: Money,
}

impl Price {
    /// Both prices together.
    pub fn plus(self, other: Self) -> Self {
        Self { per_hour: self.per_hour.plus(other.per_hour), per_month: self.per_month.plus(other.per_month) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_or_refused() {
        assert_eq!(Money::of_units(0.12), Some(Money(1_200)));
        assert_eq!(
            (Money(1_200).to_string(), Money(459_999).to_string()),
            ("0.1200".to_owned(), "45.9999".to_owned())
        );
        assert_eq!(Money::of_units(45.9999).map(Money::units), Some(45.9999));
        for wrong in [-1.0, 0.00001, f64::NAN, f64::INFINITY, 1e16] {
            assert_eq!(Money::of_units(wrong), None, "{wrong}");
        }
    }
}
