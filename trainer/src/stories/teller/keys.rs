//! How a line of the grammar becomes sentences.
//!
//! A line is text with two kinds of mark. `[a|b|c]` says one of its parts, chosen at random; parts may be
//! empty and may hold marks themselves. `{key}` says something about the story:
//!
//! | Keys | Say |
//! |---|---|
//! | `I`, `J`, `K` | hero, friend, pet; with who they are at the first mention |
//! | `A`, `B`, `P` | their names |
//! | `he` `him` `his` `himself` | the hero's pronouns; with `2` the friend's, with `3` the grown-up's, with `p` the pet's |
//! | `kid` `mom` `Mom` `pk` `rel` | the hero's kind, the grown-up, the same when spoken to, the pet's kind, what the friend is to the hero |
//! | `sA` `qA` `cA` | said, asked, cried the hero; likewise `B` and `G`, the grown-up |
//! | `ax` `cx` `x` | the item: a red ball, red ball, ball |
//! | `xs` `xo` `xwas` `xis` | the item's pronouns and verbs: it, it, was, is or they, them, were, are |
//! | `place` `at` | the park, in the park |
//! | `day` | One sunny day |
//! | `a` | a or an, as the next word wants; brings its own space |
//! | any other small letter | the word that [`Teller::set`] put there |
//!
//! Pronouns of anyone but the hero fall back to the name where the hero would answer to them too.

use super::Teller;

impl Teller {
    pub(super) fn expand(&mut self, mut line: &str) {
        while let Some(at) = line.find(['{', '[']) {
            self.push(&line[..at]);
            let rest = &line[at..];
            if rest.starts_with('{') {
                let end = rest.find('}').unwrap_or(rest.len() - 1);
                self.key(&rest[1..end]);
                line = &rest[end + 1..];
            } else {
                let (part, end) = self.branch(rest);
                self.expand(part);
                line = &rest[end..];
            }
        }
        self.push(line);
    }

    /// Chooses a part of the `[a|b]` that `text` starts with; also says where it ends.
    fn branch<'t>(&mut self, text: &'t str) -> (&'t str, usize) {
        let (mut depth, mut start, mut count, mut end) = (0, 1, 0, text.len());
        let mut parts = [(0, 0); 12];
        for (i, byte) in text.bytes().enumerate() {
            match byte {
                b'[' => depth += 1,
                b']' => depth -= 1,
                b'|' if depth == 1 => {
                    parts[count] = (start, i);
                    (count, start) = (count + 1, i + 1);
                }
                _ => {}
            }
            if depth == 0 {
                parts[count] = (start, i);
                end = i + 1;
                break;
            }
        }
        let (from, to) = parts[self.rng.below(count + 1)];
        (&text[from..to], end)
    }

    fn push(&mut self, text: &str) {
        let Some(&first) = text.as_bytes().first() else {
            return;
        };
        if self.article && first.is_ascii_alphabetic() {
            self.out
                .push_str(if b"aeiou".contains(&first) { "n " } else { " " });
            self.article = false;
        }
        // A part that turned out empty leaves two spaces.
        let mut rest = text;
        if first == b' ' && self.out.ends_with(' ') {
            rest = &text[1..];
        }
        if self.capital && rest.starts_with('"') {
            self.out.push('"');
            rest = &rest[1..];
        }
        if self.capital
            && let Some(&letter) = rest.as_bytes().first()
        {
            self.out.push(char::from(letter.to_ascii_uppercase()));
            self.out.push_str(&rest[1..]);
        } else {
            self.out.push_str(rest);
        }
        let end = &self.out.as_bytes()[self.out.len().saturating_sub(2)..];
        self.capital = matches!(end, b". " | b"! " | b"? " | b" \"" | b"\n\"") || end == b"\"";
    }

    fn key(&mut self, key: &str) {
        match key {
            "A" => self.push(self.hero.text),
            "B" => self.push(self.friend.text),
            "P" => self.push(self.pet.text),
            "I" if self.introduced => self.push(self.hero.text),
            "I" => {
                self.introduced = true;
                self.expand("{a}[little|little|young] {kid} named {A}");
            }
            "J" => self.meet_friend(),
            "K" if self.pet_known => self.push(self.pet.text),
            "K" => {
                self.pet_known = true;
                self.expand("{his} {pk} {P}");
            }
            "he" | "him" | "his" | "himself" => self.push(pronoun(key, self.hero.male)),
            "he2" | "him2" | "his2" => self.other(&key[..key.len() - 1], self.friend.male, "{B}"),
            "he3" | "him3" | "his3" => {
                self.other(&key[..key.len() - 1], self.grown_up.2, "{his} {mom}")
            }
            "hep" | "himp" => self.other(&key[..key.len() - 1], self.pet.male, "{P}"),
            "hisp" => self.push(pronoun("his", self.pet.male)),
            "kid" => self.push(
                self.animal
                    .unwrap_or(if self.hero.male { "boy" } else { "girl" }),
            ),
            "mom" => self.push(self.grown_up.0),
            "Mom" => self.push(self.grown_up.1),
            "pk" => self.push(if self.is_dog { "dog" } else { "cat" }),
            "rel" if !self.sibling => self.push("friend"),
            "rel" => self.push(if self.friend.male {
                "brother"
            } else {
                "sister"
            }),
            "sA" | "qA" | "cA" | "sB" | "qB" | "cB" | "sG" | "qG" | "cG" => self.tag(key),
            "ax" if self.item.plural => self.expand("{cx}"),
            "ax" => self.expand("{a}{cx}"),
            "cx" => self.expand("{c} {x}"),
            "x" => self.push(self.item.noun),
            "xs" => self.push(if self.item.plural { "they" } else { "it" }),
            "xo" => self.push(if self.item.plural { "them" } else { "it" }),
            "xwas" => self.push(if self.item.plural { "were" } else { "was" }),
            "xis" => self.push(if self.item.plural { "are" } else { "is" }),
            "place" => self.push(self.place.name),
            "at" => self.push(self.place.at),
            "day" => self.expand(
                "[one|one|one sunny|one warm|one fine|one quiet] [day|day|morning|afternoon]",
            ),
            "a" => {
                self.push("a");
                self.article = true;
            }
            _ => match key.as_bytes() {
                [letter @ b'a'..=b'z'] if !self.words[usize::from(letter - b'a')].is_empty() => {
                    self.expand(self.words[usize::from(letter - b'a')]);
                }
                _ => {
                    debug_assert!(false, "no key {key}");
                    self.push(key);
                }
            },
        }
    }

    fn meet_friend(&mut self) {
        if self.friend_known {
            return self.push(self.friend.text);
        }
        self.friend_known = true;
        self.expand("{his} {rel} {B}");
        if self.animal.is_some() && !self.sibling {
            self.push(" the ");
            self.push(self.friend_animal);
        }
    }

    /// A pronoun of someone who is not the hero, or the name where the hero answers to it too.
    fn other(&mut self, word: &str, male: bool, name: &str) {
        if male != self.hero.male {
            return self.push(pronoun(word, male));
        }
        self.expand(name);
        if word == "his" {
            self.push("'s");
        }
    }

    /// Who speaks, after the speech.
    fn tag(&mut self, key: &str) {
        let (verbs, who) = key.split_at(1);
        let clear = !(self.has_friend && self.friend.male == self.hero.male
            || self.has_grown_up && self.grown_up.2 == self.hero.male);
        let verb = match verbs {
            "s" => "said",
            "q" => "asked",
            _ => self.pick(&["cried", "cried", "shouted"]),
        };
        let name = match who {
            "A" if clear && self.once_in(3) => "{he}",
            "A" => "{A}",
            "B" => "{B}",
            _ => "{his} {mom}",
        };
        let verb_first = name != "{he}" && self.once_in(2);
        if verb_first {
            self.push(verb);
            self.push(" ");
            self.expand(name);
        } else {
            self.expand(name);
            self.push(" ");
            self.push(verb);
        }
    }
}

/// The form of `word`, given for a he, that fits.
fn pronoun(word: &str, male: bool) -> &'static str {
    match (word, male) {
        ("he", true) => "he",
        ("he", false) => "she",
        ("him", true) => "him",
        ("his", true) => "his",
        ("himself", true) => "himself",
        ("himself", false) => "herself",
        _ => "her",
    }
}
