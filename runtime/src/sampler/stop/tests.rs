use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::rng::Rng;

/// What passes of `text` in pieces of up to `piece` characters, and the stop string found.
fn passed(stops: &[&str], text: &str, piece: usize) -> (String, Option<usize>) {
    let mut watch = StopStrings::new(stops).unwrap();
    let mut out = String::new();
    let characters: Vec<char> = text.chars().collect();
    for piece in characters.chunks(piece) {
        let piece: String = piece.iter().collect();
        let found = watch.push(&piece, &mut |text| out.push_str(text));
        if found.is_some() {
            return (out, found);
        }
        // What is held back could be no shorter: it begins a stop string.
        let held = watch.held();
        assert!(held.is_empty() || stops.iter().any(|stop| stop.starts_with(held)));
    }
    watch.finish(&mut |text| out.push_str(text));
    (out, None)
}

/// The definition: the stop string that ends first, the longest of those.
fn expected(stops: &[&str], text: &str) -> (String, Option<usize>) {
    for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
        let ending = stops
            .iter()
            .enumerate()
            .filter(|(_, stop)| text[..end].ends_with(**stop));
        let longest = ending.max_by_key(|(index, stop)| (stop.len(), usize::MAX - index));
        if let Some((index, stop)) = longest {
            return (text[..end - stop.len()].to_string(), Some(index));
        }
    }
    (text.to_string(), None)
}

#[test]
fn stops_are_found_however_the_text_is_cut() {
    let mut rng = Rng::new(11, 0);
    let alphabet = ["a", "b", "é", "🐟"];
    let word = |longest: usize, rng: &mut Rng| -> String {
        let n = 1 + rng.next_below(longest);
        (0..n)
            .map(|_| alphabet[rng.next_below(alphabet.len())])
            .collect()
    };
    let mut found = 0;
    for _ in 0..2_000 {
        let stops: Vec<String> = (0..rng.next_below(4)).map(|_| word(5, &mut rng)).collect();
        let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
        let text = word(30, &mut rng);
        let wanted = expected(&stops, &text);
        found += usize::from(wanted.1.is_some());
        for piece in [1, 2, 3, 30] {
            assert_eq!(
                passed(&stops, &text, piece),
                wanted,
                "{stops:?} in {text:?}"
            );
        }
    }
    assert!((200..1900).contains(&found), "{found}");
}

#[test]
fn a_stop_inside_a_longer_one_is_found() {
    assert_eq!(
        passed(&["abcd", "bc"], "xabce", 1),
        ("xa".to_string(), Some(1))
    );
    assert_eq!(passed(&["aab"], "aaab", 2), ("a".to_string(), Some(0)));
    assert_eq!(
        passed(&["\nUser:"], "so\nUse", 3),
        ("so\nUse".to_string(), None)
    );
}

#[test]
fn an_empty_stop_is_refused() {
    let error = StopStrings::new(&["a", ""]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "stop string 2 is empty; give it at least one character, or leave it out"
    );
}
