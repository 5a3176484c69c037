//! What was probably meant.

use super::keys::Section;

/// For a section that is unknown.
pub(super) fn section(name: &str) -> String {
    let names = Section::ALL.map(Section::name);
    match nearest(name, &names) {
        Some(name) => format!("did you mean [{name}]?"),
        None => "the sections are [tracker] and [peer]".to_owned(),
    }
}

/// For a key that is unknown in its section.
pub(super) fn key(section: Section, name: &str) -> String {
    let here = section.keys();
    let elsewhere = Section::ALL.into_iter().find(|section| section.keys().contains(&name));
    match (nearest(name, &here), elsewhere) {
        (_, Some(other)) => format!("it belongs in [{}]", other.name()),
        (Some(near), None) => format!("did you mean {near}?"),
        (None, None) => format!("its keys are {}", here.join(", ")),
    }
}

/// Whether any section has a key of about this name.
pub(super) fn is_ours(key: &str) -> bool {
    Section::ALL.into_iter().any(|section| nearest(key, &section.keys()).is_some())
}

/// The name that `text` is a likely misspelling of: at most a third of it is wrong, whatever the case of its letters.
pub(super) fn nearest<'a>(text: &str, names: &[&'a str]) -> Option<&'a str> {
    let text: Vec<char> = text.chars().take(64).map(|c| c.to_ascii_uppercase()).collect();
    let distances = names.iter().map(|name| {
        let letters: Vec<char> = name.chars().map(|c| c.to_ascii_uppercase()).collect();
        (distance(&text, &letters), *name)
    });
    let (distance, name) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= name.len() / 3).then_some(name)
}

/// How many letters must be put in, taken out or replaced to make one of the other.
fn distance(a: &[char], b: &[char]) -> usize {
    // Distances of the beginnings of `b` to what has been read of `a`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let (mut diagonal, mut left) = (i, i + 1);
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, to) in row.iter_mut().skip(1).zip(b) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            left = replaced.min(*cell + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let table =
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("PORT", "PROT", 2)];
        for (a, b, expected) in table {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            assert_eq!((distance(&a, &b), distance(&b, &a)), (expected, expected));
        }
    }

    #[test]
    fn misspellings_are_recognised_and_other_words_are_not() {
        let names = ["HOST", "PORT", "INTERVAL", "MIN_INTERVAL"];
        let table = [
            ("port", Some("PORT")),
            ("HOTS", None),
            ("HOSTS", Some("HOST")),
            ("INTERVALL", Some("INTERVAL")),
            ("INTERVAL_MIN", None),
            ("MININTERVAL", Some("MIN_INTERVAL")),
            ("", None),
            ("COLOUR", None),
        ];
        for (text, expected) in table {
            assert_eq!(nearest(text, &names), expected, "{text}");
        }
    }
}
