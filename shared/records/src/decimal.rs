//! A JSON number, held against whole numbers by its digits: no rounding to a float decides.

/// A number of JSON's grammar.
pub(crate) struct Decimal {
    /// The greatest whole number that is not above it. Beyond 64 bits it saturates: the bounds of the schemas are small.
    floor: i64,
    /// Whether it has no fraction, whatever its spelling.
    pub(crate) is_whole: bool,
}

impl Decimal {
    /// Reads a number whose grammar has been checked.
    pub(crate) fn of(number: &str) -> Self {
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let (is_negative, whole) = whole.strip_prefix('-').map_or((false, whole), |whole| (true, whole));
        let digits = || whole.bytes().chain(fraction.bytes());
        let furthest = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
        // So many digits stand before the point, once the exponent has moved it.
        let point = exponent.parse().unwrap_or(furthest).saturating_add_unsigned(whole.len() as u64);
        let point = usize::try_from(point).unwrap_or(0);
        // Of the zeros that an exponent adds nineteen are enough to saturate.
        let zeros = point.saturating_sub(whole.len() + fraction.len()).min(19);
        let before = digits().chain(std::iter::repeat_n(b'0', zeros)).take(point);
        let size = before.fold(0i64, |size, digit| size.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
        let is_whole = digits().skip(point).all(|digit| digit == b'0');
        Self { floor: if is_negative { -size - i64::from(!is_whole) } else { size }, is_whole }
    }

    pub(crate) fn is_below(&self, least: i64) -> bool {
        self.floor < least
    }

    pub(crate) fn is_above(&self, most: i64) -> bool {
        self.floor > most || (self.floor == most && !self.is_whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Ordering;

    fn is_whole(number: &str) -> bool {
        Decimal::of(number).is_whole
    }

    fn cmp(number: &str, other: i64) -> Ordering {
        let decimal = Decimal::of(number);
        match (decimal.is_below(other), decimal.is_above(other)) {
            (true, false) => Ordering::Less,
            (false, false) => Ordering::Equal,
            (false, true) => Ordering::Greater,
            (true, true) => panic!("{number} is below and above {other}"),
        }
    }

    #[test]
    fn whole_values_are_whole_in_any_spelling() {
        for number in [
            "0",
            "-0",
            "0.0",
            "0e-5",
            "2.0",
            "2e0",
            "20e-1",
            "0.2e1",
            "1E400",
            "1.5e1",
            "100e-2",
            "123456789012345678901234567890",
            "0.00e-99999999999999999999",
        ] {
            assert!(is_whole(number), "{number}");
        }
        for number in ["0.1", "1.10", "2e-1", "1e-400", "15e-1", "0.001e2", "-1.5"] {
            assert!(!is_whole(number), "{number}");
        }
    }

    #[test]
    fn comparison_is_exact() {
        assert_eq!(cmp("1.00000000000000000000000001", 1), Ordering::Greater);
        assert_eq!(cmp("0.99999999999999999999999999", 1), Ordering::Less);
        assert_eq!(cmp("1e0", 1), Ordering::Equal);
        assert_eq!(cmp("1008e1", 10080), Ordering::Equal);
        assert_eq!(cmp("-0.0", 0), Ordering::Equal);
        assert_eq!(cmp("-1e-30", 0), Ordering::Less);
        assert_eq!(cmp("1e999999999999999999999", 10080), Ordering::Greater);
        assert_eq!(cmp("-1E+400", -10080), Ordering::Less);
        assert_eq!(cmp("0.5e400", 10080), Ordering::Greater);
        assert_eq!(cmp("-3", -2), Ordering::Less);
        assert_eq!(cmp("-1.5", -1), Ordering::Less);
        assert_eq!(cmp("-1.5", -2), Ordering::Greater);
    }

    proptest! {
        #[test]
        fn agrees_with_integers(value in -2_000_000i64..2_000_000, other in -2_000_000i64..2_000_000,
            shift in 0usize..5) {
            let spelled = format!("{value}{}e-{shift}", "0".repeat(shift));
            prop_assert!(is_whole(&spelled));
            prop_assert_eq!(cmp(&spelled, other), value.cmp(&other));
        }
    }
}
