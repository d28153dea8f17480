//! How stories begin and end, and scenes that several of them share.

use super::teller::{Extra, Teller};
use super::words::{CHARMS, COLORS, DENS, FOODS, HOBBIES, HOUSES, TRAITS};

/// Introduces the hero, or leaves it to the plot.
pub(super) fn open(s: &mut Teller) {
    s.choose(b't', TRAITS);
    s.choose(b'h', if s.animal.is_some() { DENS } else { HOUSES });
    let start = s.below(10);
    s.introduced = start < 8;
    match start {
        0..=2 => s.say("Once upon a time, there was {a}{t} {kid} named {A}."),
        3 => s.say("Once upon a time, {a}{t} {kid} named {A} lived in {h}."),
        4 => s.say("Once upon a time, in {h}, there lived {a}{t} {kid}. {his} name was {A}."),
        5 => s.say("There was once {a}{t} {kid} named {A}."),
        6 => s.say("In {h} lived {a}{t} {kid} named {A}."),
        7 => s.say("{A} was {a}{t} {kid} who lived in {h}."),
        _ => return,
    }
    match s.below(16) {
        0 | 1 if s.animal.is_none() => {
            s.extra = Extra::Pet;
            s.has_pet = true;
            s.say("[{he} had {a}[little|big|happy] {pk} named {P}.|{his} best friend was {a}{pk} named {P}.]");
        }
        2 | 3 => {
            s.extra = Extra::Food;
            s.choose(b'f', FOODS);
            s.say("{he} [loved to eat {f}|liked {f} more than anything|could eat {f} all day].");
        }
        4 => {
            s.extra = Extra::Charm;
            s.choose(b'j', CHARMS);
            s.choose(b'o', COLORS);
            s.say("{he} [always had|kept] {a}{o} {j} in {his} pocket. [It was {his} lucky {j}.|It was a present from {his} {mom}.]");
        }
        5 | 6 => {
            s.choose(b'h', HOBBIES);
            s.say("{he} [loved|liked] to {h}[| more than anything].");
        }
        _ => {}
    }
}

/// Ends a story of the day: comes back to what the start told, then goes home or to bed.
pub(super) fn close(s: &mut Teller) {
    let pair = s.has_friend;
    s.set(
        b'q',
        match (pair, s.hero.male) {
            (true, _) => "they",
            (_, true) => "he",
            _ => "she",
        },
    );
    let gives = s.once_in(2);
    let back = !s.longer_than(640);
    match s.extra {
        _ if !back => {}
        Extra::Pet if s.is_dog => {
            s.say("[Even {P} looked happy.|{P} wagged {hisp} tail.|{P} barked and jumped up and down.]");
        }
        Extra::Pet => s.say("[Even {P} looked happy.|{P} purred and purred.]"),
        Extra::Food => s.say("[Then {q}|After all that, {q}|In the evening, {q}] [ate {f}|had some {f}|sat down and ate {f}]."),
        Extra::Charm if pair && gives => s.say("{A} gave {B} the {o} {j}. \"This is for you,\" {sA}."),
        Extra::Charm => s.say("{A} [felt the {o} {j} in {his} pocket|took the {o} {j} out of {his} pocket] and smiled."),
        Extra::None => {}
    }
    let short = s.longer_than(560);
    match s.below(if short { 4 } else { 6 }) {
        _ if s.night => {}
        0 => s.say("It was [a good day|a very good day|the best day of all]."),
        1 => s.say("{A} went home with a [big smile|happy heart]."),
        2 if pair => s.say("They were [happy|very happy]."),
        2 => s.say("{A} was [happy|very happy]."),
        3 => s.say(
            "That night, {A} [slept very well|fell asleep with a smile|dreamed a happy dream].",
        ),
        4 if pair => {
            s.say("They [laughed and played|stayed together|were happy] until the sun went down.")
        }
        _ => s.say("[When the sun went down|At bedtime], {A} thought of it all and smiled."),
    }
    if s.once_in(10) {
        s.say("The end.");
    }
}

/// The hero tells the friend what is wrong, and the friend offers help. `{r}` is the trouble in the hero's words.
pub(super) fn friend_asks(s: &mut Teller) {
    s.with_friend();
    s.say(
        "{J} [came by|saw {him}|heard {him}|came closer]. \
         \"[What is wrong|Why are you so sad|What happened|Are you okay], {A}?\" {qB}.",
    );
    s.say("\"[|Oh, {B}! ]{r},\" {sA}.");
    s.say("\"[Do not worry|Do not be sad|Do not cry]. I [will|can] help you,\" {sB}.");
}

/// The hero gathers courage, from the pocket if it holds something for luck.
pub(super) fn courage(s: &mut Teller) {
    if s.extra == Extra::Charm {
        s.say("{A} held the {o} {j} [in {his} hand|very tight] and felt [a little braver|better].");
    }
}
