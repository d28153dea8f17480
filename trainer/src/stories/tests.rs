use std::collections::HashSet;

use super::words::{NAMES, PET_NAMES};
use super::*;

const MANY: u64 = 10_000;

/// Lower-case words, without their punctuation.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphabetic() && c != '\'')
        .filter(|word| !word.is_empty())
}

fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split(['.', '!', '?', '\n'])
        .map(|s| s.trim_matches([' ', '"', ',']))
        .filter(|s| !s.is_empty())
}

#[test]
fn the_same_number_tells_the_same_story() {
    for index in [0, 1, 77, u64::MAX] {
        assert_eq!(story(3, index), story(3, index));
        assert_ne!(story(3, index), story(4, index));
    }
}

#[test]
fn a_corpus_is_its_stories_on_any_number_of_threads() {
    let whole = corpus(5, 3_000_000, 0);
    assert!(whole.len() >= 3_000_000 && whole.len() < 3_002_000);
    let parts: Vec<&str> = whole.split_terminator(SEPARATOR).collect();
    for (index, part) in parts.iter().enumerate() {
        assert_eq!(*part, story(5, index as u64));
    }
    assert!(whole.starts_with(&corpus(5, 10_000, 0)));
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool");
        assert!(pool.install(|| corpus(5, 3_000_000, 0)) == whole);
    }
    assert_eq!(corpus(5, 0, 0), "");
}

#[test]
fn a_corpus_of_short_stories_leaves_the_others_out() {
    let short = corpus(5, 20_000, 500);
    let told: Vec<&str> = short.split_terminator(SEPARATOR).collect();
    let mut all = (0..).map(|index| story(5, index));
    for part in told {
        assert_eq!(all.find(|story| story.len() <= 500).as_deref(), Some(part));
    }
    assert!(corpus(5, 9_000, SHORTEST_LIMIT).len() >= 9_000);
}

#[test]
fn stories_are_clean_text_of_the_promised_length() {
    for index in 0..MANY {
        let text = story(1, index);
        let bad = |what: &str| panic!("story {index}: {what}: {text}");
        let count = words(&text).count();
        if !(60..=180).contains(&count) {
            bad(&format!("{count} words"));
        }
        if !text
            .bytes()
            .all(|b| b == b'\n' || (b' '..=b'~').contains(&b))
            || text.contains(['{', '}', '[', ']', '|'])
        {
            bad("a character");
        }
        for slip in [
            "  ", " \n", "\n ", "\n\n", " .", " ,", " !", "..", ",,", ".,", "?.", "!.", "?!",
            "\".", "\",", "!,", "\"\"",
        ] {
            if text.contains(slip) {
                bad(slip);
            }
        }
        if !text.ends_with(['.', '!', '?', '"'])
            || !text.starts_with(|c: char| c.is_ascii_uppercase())
        {
            bad("an end");
        }
        for line in text.lines() {
            if line.matches('"').count() % 2 != 0 {
                bad("an open quote");
            }
            for speech in line.split('"').skip(1).step_by(2) {
                let name = speech == "For you";
                if !speech.starts_with(|c: char| c.is_ascii_uppercase())
                    || !(name || speech.ends_with(['.', '!', '?', ',']))
                {
                    bad(speech);
                }
            }
        }
        for end in [". ", "! ", "? "] {
            if text
                .split(end)
                .skip(1)
                .any(|next| next.starts_with(|c: char| c.is_ascii_lowercase()))
            {
                bad("a small letter starts a sentence");
            }
        }
        let spaced: Vec<&str> = text.split([' ', '\n']).collect();
        if let Some(twice) = spaced.windows(2).find(|pair| pair[0] == pair[1]) {
            bad(twice[0]);
        }
        let all: Vec<&str> = words(&text).collect();
        for pair in all.windows(2) {
            let vowel = pair[1].starts_with(['a', 'e', 'i', 'o', 'u']);
            match pair[0] {
                "a" | "A" if vowel => bad(pair[1]),
                "an" | "An" if !vowel => bad(pair[1]),
                _ => {}
            }
        }
    }
}

/// Strangers whom plots call he or she whatever the cast.
const STRANGERS: [&str; 2] = ["snowman", "The man"];

#[test]
fn pronouns_agree_with_the_cast() {
    let mut judged = 0;
    for index in 0..MANY {
        let s = tell(2, index);
        let mut males = vec![s.hero.male];
        males.extend(s.has_friend.then_some(s.friend.male));
        males.extend(s.has_pet.then_some(s.pet.male));
        let grown_up = s.grown_up;
        let text = s.finish();
        if STRANGERS.iter().any(|stranger| text.contains(stranger)) {
            continue;
        }
        if words(&text).any(|word| word.eq_ignore_ascii_case(grown_up.0)) {
            males.push(grown_up.2);
        }
        for (male, wrong) in [
            (true, ["she", "her", "herself"]),
            (false, ["he", "his", "himself"]),
        ] {
            if males.iter().all(|&other| other == male) {
                judged += 1;
                let found =
                    words(&text).find(|word| wrong.iter().any(|w| w.eq_ignore_ascii_case(word)));
                assert_eq!(found, None, "story {index}: {text}");
            }
        }
    }
    assert!(judged > 2_000, "{judged} stories judged");
}

#[test]
fn names_belong_to_the_cast() {
    for index in 0..MANY {
        let s = tell(6, index);
        let cast = [s.hero.text, s.friend.text, s.pet.text];
        let text = s.finish();
        for name in NAMES.iter().chain(PET_NAMES) {
            assert!(
                cast.contains(&name.text) || !words(&text).any(|w| w == name.text),
                "story {index}: {text}"
            );
        }
        assert!(
            words(&text).filter(|&w| w == cast[0]).count() >= 1,
            "story {index}: {text}"
        );
    }
}

#[test]
fn stories_vary_with_few_words() {
    let told: Vec<String> = (0..MANY).map(|index| story(9, index)).collect();
    let stories: HashSet<&String> = told.iter().collect();
    assert_eq!(stories.len(), told.len());
    let different: HashSet<&str> = told.iter().flat_map(|text| sentences(text)).collect();
    assert!(different.len() > 20_000, "{} sentences", different.len());
    let vocabulary: HashSet<String> = told
        .iter()
        .flat_map(|text| words(text))
        .map(str::to_ascii_lowercase)
        .collect();
    assert!(
        (600..1_200).contains(&vocabulary.len()),
        "{} words",
        vocabulary.len()
    );
    let once = told
        .iter()
        .filter(|text| text.starts_with("Once upon a time"))
        .count();
    assert!((3_000..6_000).contains(&once), "{once}");
    let openings: HashSet<&str> = told
        .iter()
        .filter_map(|text| sentences(text).next())
        .collect();
    assert!(openings.len() > 1_500, "{} openings", openings.len());
    let endings: HashSet<&str> = told.iter().filter_map(|text| text.lines().last()).collect();
    assert!(endings.len() > 6_000, "{} endings", endings.len());
    let count = told.iter().map(|text| words(text).count()).sum::<usize>() / told.len();
    println!(
        "{} sentences, {} words, {} openings, {} endings, {count} words a story",
        different.len(),
        vocabulary.len(),
        openings.len(),
        endings.len()
    );
}

/// Speed of one thread, and a few stories to read: `cargo test --release -- --ignored --nocapture stories`.
#[test]
#[ignore = "prints for a reader"]
fn read_and_time() {
    for index in 100..160 {
        println!("#{index} {}\n", story(1, index));
    }
    let start = std::time::Instant::now();
    let bytes: usize = (0..40_000).map(|index| story(1, index).len()).sum();
    println!(
        "{:.1} MB/s, {} bytes a story",
        bytes as f64 / 1e6 / start.elapsed().as_secs_f64(),
        bytes / 40_000
    );
}
