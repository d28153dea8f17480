//! Who and what the stories are about.

/// A name, and whether its bearer is a he.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) text: &'static str,
    pub(super) male: bool,
}

const fn he(text: &'static str) -> Name {
    Name { text, male: true }
}

const fn she(text: &'static str) -> Name {
    Name { text, male: false }
}

pub(super) const NAMES: &[Name] = &[
    she("Lily"),
    she("Mia"),
    she("Anna"),
    she("Sara"),
    she("Emma"),
    she("Nora"),
    he("Tom"),
    he("Ben"),
    he("Max"),
    he("Sam"),
    he("Leo"),
    he("Jack"),
];

pub(super) const PET_NAMES: &[Name] = &[
    he("Spot"),
    he("Rex"),
    he("Patch"),
    he("Buddy"),
    she("Daisy"),
    she("Coco"),
    she("Bella"),
    she("Honey"),
];

/// Heroes that are animals.
pub(super) const KINDS: &[&str] = &["rabbit", "mouse", "bear", "fox", "duck", "squirrel"];

/// The grown-ups, with whether each is a he: as spoken about, as spoken to.
pub(super) const GROWN_UPS: &[(&str, &str, bool)] = &[
    ("mom", "Mom", false),
    ("dad", "Dad", true),
    ("grandma", "Grandma", false),
    ("grandpa", "Grandpa", true),
];

pub(super) const TRAITS: &[&str] = &[
    "little", "little", "little", "kind", "cheerful", "clever", "quiet", "curious",
];

pub(super) const COLORS: &[&str] = &[
    "red", "blue", "green", "yellow", "orange", "white", "purple", "brown",
];

pub(super) const FOODS: &[&str] = &[
    "apples",
    "honey",
    "berries",
    "pancakes",
    "soup",
    "pears",
    "warm bread",
    "nuts",
];

pub(super) const HOBBIES: &[&str] = &[
    "sing",
    "draw",
    "climb trees",
    "tell jokes",
    "look at the clouds",
    "jump in puddles",
    "help others",
    "read books",
    "count the stars",
    "dance",
];

/// What a pocket holds for luck.
pub(super) const CHARMS: &[&str] = &["stone", "button", "shell", "feather"];

pub(super) const HOUSES: &[&str] = &[
    "a little house by the sea",
    "a small village",
    "a white house on a hill",
    "a small town near the woods",
    "an old house by the river",
    "a house with a big garden",
];

pub(super) const DENS: &[&str] = &[
    "a hollow tree",
    "a small house in the woods",
    "a cozy hole under the hill",
    "a little house by the pond",
];

/// A thing a child can carry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) noun: &'static str,
    pub(super) plural: bool,
}

const fn one(noun: &'static str) -> Item {
    Item {
        noun,
        plural: false,
    }
}

const fn many(noun: &'static str) -> Item {
    Item { noun, plural: true }
}

/// Things that are worn and can change hands.
pub(super) const CLOTHES: &[Item] = &[one("hat"), one("scarf"), many("mittens"), many("gloves")];

/// Things that can be lost and found.
pub(super) const TREASURES: &[Item] = &[
    one("ball"),
    one("kite"),
    one("hat"),
    one("toy boat"),
    one("toy car"),
    one("teddy bear"),
    one("bucket"),
    one("scarf"),
    many("mittens"),
    many("crayons"),
];

/// Things to play with, alone or in turns.
pub(super) const TOYS: &[Item] = &[
    one("ball"),
    one("kite"),
    one("toy boat"),
    one("toy car"),
    one("drum"),
    many("blocks"),
    many("crayons"),
];

/// Things to throw.
pub(super) const BALLS: &[Item] = &[one("ball"), one("toy plane"), one("hat")];

/// Somewhere outside, with spots where things hide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) name: &'static str,
    pub(super) at: &'static str,
    pub(super) spots: [&'static str; 4],
}

pub(super) const PLACES: &[Place] = &[
    Place {
        name: "the park",
        at: "in the park",
        spots: [
            "under the bench",
            "behind the big tree",
            "near the pond",
            "by the swings",
        ],
    },
    Place {
        name: "the garden",
        at: "in the garden",
        spots: [
            "behind the gate",
            "under the apple tree",
            "between the flowers",
            "next to the well",
        ],
    },
    Place {
        name: "the woods",
        at: "in the woods",
        spots: [
            "behind a rock",
            "under the leaves",
            "near the stream",
            "next to an old log",
        ],
    },
    Place {
        name: "the beach",
        at: "at the beach",
        spots: [
            "behind the rocks",
            "in the sand",
            "near the water",
            "under an old boat",
        ],
    },
    Place {
        name: "the farm",
        at: "on the farm",
        spots: [
            "in the barn",
            "behind the hay",
            "next to the well",
            "under the cart",
        ],
    },
    Place {
        name: "the river",
        at: "by the river",
        spots: [
            "under the bridge",
            "in the tall grass",
            "behind a bush",
            "between the stones",
        ],
    },
];
