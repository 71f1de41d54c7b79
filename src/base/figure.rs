//! Figures as text for people: rounded to what a person uses, with their unit.

/// Processor use in percent of one core: `0 %`, `3.1 %`, `188 %`.
pub fn percent(of: f64) -> String {
    let tenths = (of.max(0.0) * 10.0).round() / 10.0;
    if tenths >= 10.0 || tenths.fract() == 0.0 {
        format!("{tenths:.0} %")
    } else {
        format!("{tenths:.1} %")
    }
}

/// A share in percent: `100 %`, `99.6 %`.
pub fn percent_exact(of: f64) -> String {
    if of.fract() == 0.0 {
        format!("{of:.0} %")
    } else {
        format!("{of:.1} %")
    }
}

/// Memory: `412 MB`, `1.9 GB`.
pub fn megabytes(of: f64) -> String {
    let of = of.max(0.0);
    if of < 1000.0 {
        format!("{of:.0} MB")
    } else {
        format!("{:.1} GB", of / 1000.0)
    }
}

/// A count with separators: `48,112`.
pub fn count(of: u64) -> String {
    let digits = of.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_precision_that_a_person_uses() {
        let percents = [0.0, 0.04, 0.2, 3.12, 6.0, 188.4].map(percent);
        assert_eq!(percents, ["0 %", "0 %", "0.2 %", "3.1 %", "6 %", "188 %"]);
        let shares = [100.0, 99.6, 50.0].map(percent_exact);
        assert_eq!(shares, ["100 %", "99.6 %", "50 %"]);
        let memory = [0.0, 411.7, 1900.0].map(megabytes);
        assert_eq!(memory, ["0 MB", "412 MB", "1.9 GB"]);
        let counts = [7, 812, 48_112, 1_764_140_400_007].map(count);
        assert_eq!(counts, ["7", "812", "48,112", "1,764,140,400,007"]);
    }
}
