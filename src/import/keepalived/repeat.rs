//! `~SEQ` and `~LST`: a line that is read once for each value of a parameter.

use std::rc::Rc;

use super::super::note::Place;
use super::lines::{Line, Made};

/// Lines that one of them can make.
const MOST: i64 = 100_000;

/// The definitions and lines that `head`, such as `~SEQ(N, 1, 3)`, makes of `rest`.
pub(super) fn repeat(head: &str, rest: &str, place: &Place) -> Result<Vec<Made>, String> {
    // A list's own braces may hold the first `)` only at its end.
    let (kind, inside) = head
        .split_once('(')
        .and_then(|(kind, inside)| Some((kind.trim_end(), inside.strip_suffix(')')?)))
        .ok_or_else(|| format!("{head} is not closed; write ~SEQ(NAME, FIRST, LAST) or ~LST(NAME, A, B)"))?;
    let line: Rc<str> = rest.trim_start().into();
    let rounds = match kind {
        "~SEQ" => sequence(inside, false)?,
        "~SEQx" => sequence(inside, true)?,
        "~LST" => list(inside)?,
        _ => return Err(format!("{kind} is unknown; write ~SEQ, ~SEQx or ~LST")),
    };
    let mut made = Vec::new();
    for values in rounds {
        made.extend(values.into_iter().map(|(name, value)| Made::Define(name, value.into())));
        made.push(Made::Line(Line { place: place.clone(), text: Rc::clone(&line) }));
    }
    Ok(made)
}

type Round = Vec<(String, String)>;

fn sequence(inside: &str, hex: bool) -> Result<Vec<Round>, String> {
    let mut parts = inside.split(',').map(str::trim);
    let name = name(parts.next().unwrap_or_default())?;
    let numbers = parts.map(number).collect::<Result<Vec<i64>, String>>()?;
    let (first, step, last) = match numbers[..] {
        [last] => (if last < 0 { -1 } else { 1 }, if last < 1 { -1 } else { 1 }, last),
        [first, last] => (first, if first <= last { 1 } else { -1 }, last),
        [first, step, last] => (first, step, last),
        _ => return Err(format!("~SEQ({inside}) has no end; write ~SEQ(NAME, FIRST, STEP, LAST)")),
    };
    if step == 0 || (first < last && step < 0) || (first > last && step > 0) {
        return Err(format!("~SEQ({inside}) never comes to its end; write a step that leads there"));
    }
    if hex && (first < 0 || last < 0) {
        return Err(format!("~SEQx({inside}) is for positive numbers; write ~SEQ"));
    }
    let count = last.abs_diff(first) / step.unsigned_abs();
    if count >= MOST.unsigned_abs() {
        return Err(format!("~SEQ({inside}) is more than {MOST} lines; write fewer"));
    }
    let mut value = first;
    let mut rounds = Vec::new();
    for round in 0..=count {
        if round > 0 {
            value += step;
        }
        rounds.push(vec![(name.clone(), if hex { format!("{value:x}") } else { value.to_string() })]);
    }
    Ok(rounds)
}

fn list(inside: &str) -> Result<Vec<Round>, String> {
    let mut parts = split_outside_braces(inside).into_iter();
    let group = |text: &str| -> Vec<String> {
        let bare = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        bare.map_or_else(|| vec![text.to_owned()], |bare| bare.split(',').map(|part| part.trim().to_owned()).collect())
    };
    let names = group(parts.next().unwrap_or_default()).iter().map(|text| name(text)).collect::<Result<Vec<_>, _>>()?;
    let mut rounds = Vec::new();
    for part in parts {
        let values = group(part);
        if values.len() != names.len() {
            return Err(format!("~LST({inside}): {part} has not as many values as there are names, {}", names.len()));
        }
        rounds.push(names.iter().cloned().zip(values).collect());
    }
    if rounds.is_empty() {
        return Err(format!("~LST({inside}) has no values; write ~LST(NAME, A, B)"));
    }
    Ok(rounds)
}

fn split_outside_braces(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let is_cut = |letter: char| {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    };
    text.split(is_cut).map(str::trim).collect()
}

fn name(text: &str) -> Result<String, String> {
    let legal = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if legal && !text.is_empty() {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is not a parameter's name; write letters, digits and _"))
}

/// As C reads it: decimal, `0x` hexadecimal, `0` octal.
fn number(text: &str) -> Result<i64, String> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let parsed = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        i64::from_str_radix(hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        i64::from_str_radix(digits, 8)
    } else {
        digits.parse()
    };
    let is_plain = !digits.starts_with(['-', '+']);
    match parsed {
        // Far below where a sum could overflow.
        Ok(number) if is_plain && number < i64::MAX / 4 => Ok(sign * number),
        _ => Err(format!("{text:?} is not a whole number; write digits")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(head: &str) -> Result<Vec<String>, String> {
        let place = Place { file: "x".into(), line: 1 };
        let made = repeat(head, " y", &place)?;
        Ok(made
            .into_iter()
            .filter_map(|made| match made {
                Made::Define(name, value) => Some(format!("{name}={value}")),
                Made::Line(_) => None,
            })
            .collect())
    }

    #[test]
    fn a_sequence_counts_up_and_down() {
        assert_eq!(values("~SEQ(N, 3)").unwrap(), ["N=1", "N=2", "N=3"]);
        assert_eq!(values("~SEQ(N, 0, 2)").unwrap(), ["N=0", "N=1", "N=2"]);
        assert_eq!(values("~SEQ(N, 2, 0)").unwrap(), ["N=2", "N=1", "N=0"]);
        assert_eq!(values("~SEQ(N, 1, 4, 10)").unwrap(), ["N=1", "N=5", "N=9"]);
        assert_eq!(values("~SEQx (N, 0x90, 0x10, 0xb0)").unwrap(), ["N=90", "N=a0", "N=b0"]);
    }

    #[test]
    fn a_list_gives_its_values_in_turn() {
        assert_eq!(values("~LST(A, x, y)").unwrap(), ["A=x", "A=y"]);
        assert_eq!(values("~LST({A, B}, {1,2}, {3,4})").unwrap(), ["A=1", "B=2", "A=3", "B=4"]);
    }

    #[test]
    fn what_has_no_end_or_no_sense_is_refused() {
        for head in [
            "~SEQ(N, 1, -1, 3)",
            "~SEQ(N, 1, 0, 3)",
            "~SEQ(N)",
            "~SEQ(N, 1, 9999999999)",
            "~SEQ(N, a)",
            "~SEQ(, 1)",
            "~SEQ(N, 1",
            "~SEQx(N, -1, 3)",
            "~LST(A)",
            "~LST({A,B}, 1)",
            "~LSTs(A, 1)",
            "~SEQ",
        ] {
            assert!(values(head).is_err(), "{head}");
        }
    }
}
