//! The plots: each a way from a want over an obstacle to an end.

mod heart;
mod make;
mod outside;
mod search;
mod town;

use super::teller::Teller;

/// A plot, told after the opening and before the end.
pub(super) type Plot = fn(&mut Teller);

/// Every plot; those after [`FOR_ALL`] want a hero who is a child.
pub(super) const PLOTS: &[Plot] = &[
    search::lost_item,
    search::lost_way,
    search::hidden_treasure,
    make::cake,
    make::seed,
    make::surprise,
    make::house_for_birds,
    heart::dark,
    heart::one_snack,
    heart::turns,
    heart::broken,
    heart::new_neighbor,
    heart::swap,
    outside::race,
    outside::rain,
    outside::small_animal,
    outside::snow,
    outside::learn_to_swim,
    town::visit,
    town::moon,
    search::lost_pet,
    town::learn_to_ride,
    town::shop,
    town::big_dog,
];

/// How many of [`PLOTS`] suit a hero who is an animal.
pub(super) const FOR_ALL: usize = 20;
