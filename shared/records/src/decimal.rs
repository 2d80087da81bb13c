//! A JSON number, compared by its digits: no rounding to a float decides.

use std::cmp::Ordering;

/// A number of JSON's grammar as 0.`digits` × 10^`point`, without leading or trailing zeros.
pub(crate) struct Decimal<'a> {
    negative: bool,
    /// The digits before and after the decimal point; together without leading and trailing zeros.
    digits: (&'a [u8], &'a [u8]),
    /// Where the decimal point stands, counted from the first digit.
    point: i64,
}

impl<'a> Decimal<'a> {
    /// Reads a number whose grammar has been checked.
    pub(crate) fn of(number: &'a [u8]) -> Self {
        let (negative, unsigned) = match number {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, number),
        };
        let (mantissa, exponent) = match unsigned.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => {
                let (mantissa, exponent) = unsigned.split_at(at);
                (mantissa, exponent.get(1..).map_or(0, saturating_exponent))
            }
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
            Some(at) => {
                let (whole, fraction) = mantissa.split_at(at);
                (whole, fraction.get(1..).unwrap_or_default())
            }
            None => (mantissa, &[][..]),
        };
        let point = exponent.saturating_add(count(whole));
        let fraction = trim_end(fraction);
        let whole = if fraction.is_empty() { trim_end(whole) } else { whole };
        let leading = count(whole) - count(trim_start(whole));
        let whole = trim_start(whole);
        if whole.is_empty() {
            let kept = trim_start(fraction);
            let skipped = count(fraction) - count(kept);
            let point = point.saturating_sub(leading).saturating_sub(skipped);
            return Self { negative, digits: (&[], kept), point };
        }
        Self { negative, digits: (whole, fraction), point: point.saturating_sub(leading) }
    }

    fn is_zero(&self) -> bool {
        self.digits.0.is_empty() && self.digits.1.is_empty()
    }

    /// Whether the value has no fraction, whatever its spelling.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_zero() || count(self.digits.0) + count(self.digits.1) <= self.point
    }

    /// Compares the value with a whole number.
    pub(crate) fn cmp_whole(&self, other: i64) -> Ordering {
        let sign = |negative: bool, zero: bool| match (zero, negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let own_sign = sign(self.negative, self.is_zero());
        let by_sign = own_sign.cmp(&sign(other < 0, other == 0));
        if by_sign != Ordering::Equal || own_sign == 0 {
            return by_sign;
        }
        let other = other.unsigned_abs().to_string();
        let significant = trim_end(other.as_bytes());
        let magnitude = self
            .point
            .cmp(&count(other.as_bytes()))
            .then_with(|| self.digits.0.iter().chain(self.digits.1).cmp(significant.iter()));
        if own_sign < 0 { magnitude.reverse() } else { magnitude }
    }
}

/// The exponent as a number; one beyond 18 digits saturates, which no comparison here can tell apart.
fn saturating_exponent(text: &[u8]) -> i64 {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let size = digits
        .iter()
        .fold(0i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit.wrapping_sub(b'0'))));
    if negative { -size } else { size }
}

fn count(digits: &[u8]) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX)
}

fn trim_start(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.get(zeros..).unwrap_or_default()
}

fn trim_end(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().rev().take_while(|digit| **digit == b'0').count();
    digits.get(..digits.len() - zeros).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(number: &str) -> bool {
        Decimal::of(number.as_bytes()).is_whole()
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
            assert!(whole(number), "{number}");
        }
        for number in ["0.1", "1.10", "2e-1", "1e-400", "15e-1", "0.001e2", "-1.5"] {
            assert!(!whole(number), "{number}");
        }
    }

    #[test]
    fn comparison_is_exact() {
        let cmp = |number: &str, other| Decimal::of(number.as_bytes()).cmp_whole(other);
        assert_eq!(cmp("1.00000000000000000000000001", 1), Ordering::Greater);
        assert_eq!(cmp("0.99999999999999999999999999", 1), Ordering::Less);
        assert_eq!(cmp("1e0", 1), Ordering::Equal);
        assert_eq!(cmp("1008e1", 10080), Ordering::Equal);
        assert_eq!(cmp("-0.0", 0), Ordering::Equal);
        assert_eq!(cmp("-1e-30", 0), Ordering::Less);
        assert_eq!(cmp("1e999999999999999999999", 10080), Ordering::Greater);
        assert_eq!(cmp("-3", -2), Ordering::Less);
    }

    proptest! {
        #[test]
        fn agrees_with_integers(value in -2_000_000i64..2_000_000, other in -2_000_000i64..2_000_000,
            shift in 0usize..5) {
            let spelled = format!("{value}{}e-{shift}", "0".repeat(shift));
            let decimal = Decimal::of(spelled.as_bytes());
            prop_assert!(decimal.is_whole());
            prop_assert_eq!(decimal.cmp_whole(other), value.cmp(&other));
        }
    }
}
