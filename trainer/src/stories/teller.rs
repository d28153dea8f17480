//! The voice: who is in a story, and how a line of the grammar becomes sentences.
//!
//! [`keys`] says what a line may hold.

mod keys;

use super::rng::Rng;
use super::words::{
    COLORS, GROWN_UPS, Item, KINDS, NAMES, Name, PET_NAMES, PLACES, Place, TREASURES,
};

/// Something told at the start that the end comes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extra {
    None,
    Pet,
    Food,
    Charm,
}

/// One story under way: its people, its facts, its text so far.
pub(super) struct Teller {
    rng: Rng,
    out: String,
    /// The next word starts a sentence.
    capital: bool,
    /// An "a" waits for the word after it.
    article: bool,
    words: [&'static str; 26],
    pub(super) hero: Name,
    pub(super) friend: Name,
    pub(super) pet: Name,
    pub(super) is_dog: bool,
    pub(super) grown_up: (&'static str, &'static str, bool),
    /// `None` for a child.
    pub(super) animal: Option<&'static str>,
    friend_animal: &'static str,
    pub(super) sibling: bool,
    pub(super) item: Item,
    pub(super) place: Place,
    pub(super) extra: Extra,
    /// The story plays at night: no sun at its end.
    pub(super) night: bool,
    pub(super) introduced: bool,
    pub(super) has_friend: bool,
    pub(super) has_grown_up: bool,
    pub(super) has_pet: bool,
    friend_known: bool,
    pet_known: bool,
}

impl Teller {
    /// Casts a story.
    pub(super) fn new(mut rng: Rng) -> Self {
        let hero = NAMES[rng.below(NAMES.len())];
        let mut friend = NAMES[rng.below(NAMES.len())];
        while friend == hero {
            friend = NAMES[rng.below(NAMES.len())];
        }
        let animal = if rng.below(4) == 0 {
            Some(KINDS[rng.below(KINDS.len())])
        } else {
            None
        };
        let place = PLACES[rng.below(PLACES.len())];
        let mut words = [""; 26];
        words[usize::from(b'c' - b'a')] = COLORS[rng.below(COLORS.len())];
        Self {
            hero,
            friend,
            pet: PET_NAMES[rng.below(PET_NAMES.len())],
            is_dog: rng.below(3) > 0,
            grown_up: GROWN_UPS[rng.below(GROWN_UPS.len())],
            animal,
            friend_animal: KINDS[rng.below(KINDS.len())],
            sibling: rng.below(4) == 0,
            item: TREASURES[0],
            place,
            extra: Extra::None,
            night: false,
            introduced: false,
            has_friend: false,
            has_grown_up: false,
            has_pet: false,
            friend_known: false,
            pet_known: false,
            out: String::with_capacity(1200),
            capital: true,
            article: false,
            words,
            rng,
        }
    }

    /// The story.
    pub(super) fn finish(mut self) -> String {
        self.trim();
        self.out
    }

    /// Takes back the space or line end before a part that turned out empty.
    fn trim(&mut self) {
        self.out
            .truncate(self.out.trim_end_matches([' ', '\n']).len());
    }

    /// A number in `0..n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.rng.below(n)
    }

    /// True once in `n` times.
    pub(super) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of `all`.
    pub(super) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.rng.below(all.len())]
    }

    /// Puts `word` behind the one-letter key `key`.
    pub(super) fn set(&mut self, key: u8, word: &'static str) {
        self.words[usize::from(key - b'a')] = word;
    }

    /// The word behind the one-letter key `key`.
    pub(super) fn word(&self, key: u8) -> &'static str {
        self.words[usize::from(key - b'a')]
    }

    /// Picks one of `all` for the one-letter key `key`.
    pub(super) fn choose(&mut self, key: u8, all: &[&'static str]) {
        let word = self.pick(all);
        self.set(key, word);
    }

    /// Picks the item.
    pub(super) fn choose_item(&mut self, all: &[Item]) {
        self.item = self.pick(all);
    }

    /// Picks three spots of the place as `u`, `v`, `w`.
    pub(super) fn choose_spots(&mut self) {
        let (first, spots) = (self.below(4), self.place.spots);
        for (key, step) in [(b'u', 0), (b'v', 1), (b'w', 2)] {
            self.set(key, spots[(first + step) % 4]);
        }
    }

    /// Brings the friend into the story.
    pub(super) fn with_friend(&mut self) {
        self.has_friend = true;
    }

    /// Brings the grown-up into the story.
    pub(super) fn with_grown_up(&mut self) {
        self.has_grown_up = true;
    }

    /// The friend has been introduced.
    pub(super) fn knows_friend(&mut self) {
        self.friend_known = true;
    }

    /// What the friend of an animal is.
    pub(super) fn friend_kind(&self) -> &'static str {
        self.friend_animal
    }

    /// Starts a new paragraph.
    pub(super) fn paragraph(&mut self) {
        self.trim();
        if !self.out.is_empty() {
            self.out.push('\n');
        }
    }

    /// Says a line of the grammar as one or more sentences.
    pub(super) fn say(&mut self, line: &str) {
        if !self.out.is_empty() && !self.out.ends_with(['\n', ' ']) {
            self.out.push(' ');
        }
        self.capital = true;
        self.expand(line);
    }

    /// More than `bytes` are told.
    pub(super) fn longer_than(&self, bytes: usize) -> bool {
        self.out.len() > bytes
    }

    /// Says the line half of the time while the story is not long.
    pub(super) fn maybe(&mut self, line: &str) {
        if self.once_in(2) && !self.longer_than(440) {
            self.say(line);
        }
    }
}
