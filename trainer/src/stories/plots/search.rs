//! Plots of losing and finding.

use super::super::frame::{courage, friend_asks};
use super::super::teller::{Extra, Teller};
use super::super::words::TREASURES;

/// The hero loses a thing, looks for it, finds it with help.
pub(super) fn lost_item(s: &mut Teller) {
    s.choose_item(TREASURES);
    s.choose_spots();
    s.say("{I} had {ax}. [{xs} {xwas} a gift from {his} {mom}.|{he} took {xo} everywhere.|{he} loved {xo} very much.]");
    s.say("{day}, {he} [took the {cx} to {place}|went to {place} with the {x}].");
    s.paragraph();
    s.say("[When it was time to go home|After a while|After {he} had played for a long time], the {x} {xwas} gone!");
    s.maybe(
        "[\"Oh no! Where {xis} my {x}?\" {cA}.|{he} felt [sad|very sad] and [began to cry|sat down].\
         |{he} did not know what to do.]",
    );
    s.say("{he} looked {u}, but [the {x} {xwas} not there|{xs} {xwas} not there|there was only {a}[old leaf|frog|bug]].");
    if s.extra == Extra::Pet && s.is_dog && s.once_in(2) {
        s.say("Then {P} [began to bark|ran away]. {A} [ran after {himp}|went to see why].");
        s.say("There, {w}, {P} had found [the {cx}|something {c}]. What a [clever|good] dog!");
        s.say("\"Thank you, {P}!\" {sA}. {he} gave {himp} a big hug.");
    } else {
        if s.item.plural {
            s.set(b'r', "I cannot find them anywhere");
        } else {
            s.set(b'r', "I cannot find it anywhere");
        }
        s.maybe("{he} looked {v}, but {he} found nothing.");
        friend_asks(s);
        s.say(
            "[They looked here and there|They walked up and down|They looked and looked]. \
             Then {B} saw something {c} {w}. [There {xwas} the {x}!|\"Look! Here {xis} your {x},\" {cB}.]",
        );
        s.say("\"Thank you, {B}! You are a [good|great|kind] {rel},\" {sA}.");
    }
    s.paragraph();
    s.maybe(
        "[From that day on, {A} always took good care of {his} {cx}.|{A} held the {x} and smiled.\
         |{A} took the {cx} home and put {xo} in a safe place.]",
    );
}

/// The pet runs away, and the hero follows the signs.
pub(super) fn lost_pet(s: &mut Teller) {
    s.choose(b'c', &["red", "blue", "green"]);
    s.has_pet = true;
    let known = s.extra == Extra::Pet;
    s.extra = Extra::Pet;
    if known {
        s.say("{P} [had|always wore] a {c} ribbon around {hisp} neck.");
    } else {
        s.say("{I} had {a}[little|young|funny] {pk} named {P}. {P} [had|wore] a {c} ribbon around {hisp} neck.");
    }
    s.say("{day}, someone left the gate open, and {P} [ran away|ran out|was gone]!");
    s.paragraph();
    s.say("\"{P}! Where are you?\" {cA}. [But nobody came.|There was no answer.|{he} looked up and down the road.]");
    s.with_grown_up();
    s.say("{he} ran to {his} {mom}. \"{Mom}, {P} is gone,\" {sA}. \"[Let us look together|We will find {himp}],\" {sG}.");
    s.choose(
        b'u',
        &["the bakery", "the river", "the old bridge", "the school"],
    );
    s.say(
        "[They looked up and down the road|They called and called]. Then they met [an old man|a woman with a bag]. \
         \"Have you seen {a}{pk} with a {c} ribbon?\" {qA}. \"Yes, near {u},\" was the answer.",
    );
    s.say("[They ran to {u}|They hurried to {u} as fast as they could], and there {P} sat, [wet and cold|tired and hungry].");
    s.paragraph();
    s.say("{A} [hugged|held] {himp} [tight|for a long time]. \"[I missed you so much|I am so happy to see you], {P},\" {sA}.");
    s.maybe(
        "[From then on, {A} always closed the gate.|At home, {P} got a big dinner and a warm bed.]",
    );
}

/// The hero goes too far, gets lost, and is shown the way home.
pub(super) fn lost_way(s: &mut Teller) {
    s.with_grown_up();
    s.choose(
        b'g',
        &[
            "yellow butterfly",
            "little bird",
            "white rabbit",
            "green frog",
        ],
    );
    s.say("{day}, {I} went for a walk in the woods with {his} {mom}. \"Stay close to me,\" {sG}.");
    s.say(
        "But then {A} saw {a}{g}. {he} [followed it|ran after it] [over a hill|past a stream|between the trees], \
         [and soon {he} was far away|farther and farther].",
    );
    s.paragraph();
    s.say("[Then the {g} was gone|The {g} went away], and {A} was all alone.[ Every tree looked the same.| It was very quiet.||]");
    s.say("\"{Mom}! Where are you?\" {cA}. [But nobody answered.|There was no answer.|{he} began to cry.]");
    courage(s);
    match s.below(3) {
        0 => {
            s.choose(b'e', &["owl", "deer", "turtle"]);
            s.say("{a}[old|kind] {e} heard {him}. \"[I know the way|I know these woods well|I can help you]. Come with me,\" said the {e}.");
            s.say("The {e} led {A} [back to the path|over the hill|through the trees]. And there was {his} {mom}!");
            s.maybe("\"Thank you, {e},\" {sA}.");
        }
        1 => {
            s.say("Then {A} [remembered|thought of] what {his} {mom} had said: \"If you are lost, stay in one place and sing.\"");
            s.say("So {he} sat down [under a tree|on a rock] and sang a song.");
            s.say("[Soon|After a while], {his} {mom} heard the song and came running.");
        }
        _ => {
            s.say("Then {A} saw the marks of {his} own feet in the mud. \"[I can follow them|They will lead me back],\" {sA}.");
            s.say(
                "Step by step, {he} walked back. [At last|Soon], {he} saw {his} {mom} by the path.",
            );
        }
    }
    s.paragraph();
    s.maybe("{A} [ran into {his} {mom}'s arms|gave {his} {mom} a big hug]. \"[I will stay close to you now|I will never run off again],\" {sA}.");
    s.say("\"[I am so glad you are safe|I was so worried],\" {sG}, and they walked home side by side.");
}

/// The hero and the friend follow a map to a box.
pub(super) fn hidden_treasure(s: &mut Teller) {
    s.with_friend();
    s.choose_spots();
    s.choose(
        b'b',
        &["an old book", "a drawer", "a bottle", "a dusty chest"],
    );
    s.choose(
        b'g',
        &["gold coins", "shiny shells", "old toys", "pretty stones"],
    );
    s.say("{day}, {I} found a map in {b}. [There was a big cross on it.|A cross showed where to look.]");
    s.say("{he} [ran to show it to|showed it to] {J}. \"[Maybe it is a treasure map|Let us find the treasure]!\" {cB}.");
    s.paragraph();
    s.say("The map led them to {place}. [First they looked|They looked] {u}, but [nothing was there|there was no treasure].");
    s.maybe("[\"Maybe we should go home,\" {sB}. \"No, let us try again,\" {sA}.|{B} was tired, but {A} did not want to stop.|{A} looked at the map again and turned it around.]");
    s.say("Then they [dug a hole|began to dig] {w}. [They dug and dug.|It was hard work.] [At last|Suddenly], they hit something hard.");
    s.say("It was {a}{c} box! [The lid was heavy, so they lifted it together.|{A} opened it slowly.] It was full of {g}.");
    s.paragraph();
    s.say("\"[What shall we do with them|Who will have them]?\" {qB}. \"[We found them together, so we will share|Half for you and half for me],\" {sA}.");
    s.maybe("[They kept the {c} box in a secret place.|They put the map back for someone else to find.|They carried the {c} box home together.]");
}
