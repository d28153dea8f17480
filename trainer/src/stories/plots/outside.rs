//! Plots of weather, animals and running about.

use super::super::frame::courage;
use super::super::teller::{Extra, Teller};

/// A race, and what matters more than winning it.
pub(super) fn race(s: &mut Teller) {
    s.with_friend();
    s.choose(
        b'g',
        &[
            "the old bridge",
            "the big rock",
            "the tall tree",
            "the red barn",
        ],
    );
    s.say("{day}, {I} and {J} had a race. \"[Let us run|We will run] to {g},\" {sB}.[ \"The first one there wins!\"|]");
    s.say("\"[One, two, three, go|Ready, set, go]!\" {cA}, and they ran [down the hill|along the path|across the field].");
    s.paragraph();
    match s.below(3) {
        0 => {
            s.say("{A} was [faster|very fast] and was soon in front. But then {B} fell over a stone. \"Ow, my [knee|leg|foot]!\" {cB}.");
            s.say("{A} was close to {g} now. [{he} wanted to win. |]But {he} [stopped and ran back|turned around]. \"[Are you hurt|Can you stand up]?\" {qA}.");
            s.say("{he} helped {B} up, and they walked [slowly|step by step] to {g} together.");
            s.paragraph();
            s.say("\"[You could have won|Why did you not run on]!\" {sB}. \"[A friend is more important than a race|I did not want to win without you],\" {sA}.");
            s.say("So [nobody lost|they both won] that day.");
        }
        1 => {
            s.say("{B} [was sure to win and|wanted to win so much that {he2}] took a short way through the mud. But the mud was deep, and soon {his2} foot was stuck in it.");
            s.say("{A} took the long way around and [ran on and on|did not stop once].");
            s.say("When {he} got to {g}, [nobody was there|{he} was the first]! \"[I won, I won|I did it]!\" {cA}. Then {he} went back and pulled {B} out.");
            s.paragraph();
            s.say("{B} was [angry at first|brown from head to toe], but then {he2} [smiled|laughed]. \"[The short way is not always the fast way|Next time I will run behind you],\" {sB}.");
        }
        _ => {
            s.say("{A} ran as fast as {he} could, but {B} was [faster|a little faster] and got to {g} first. {A} was [sad|angry] and kicked a stone.");
            s.say("\"I will never be fast,\" {sA}. \"[You only need to practice|I was slow too when I began]. [I will show you|Come, I will help you],\" {sB}.");
            s.say("[So they ran together every day.|Every morning, they ran up and down the hill.] {A} got [stronger and faster|faster and faster].");
            s.paragraph();
            s.say("[A few weeks later|After some time], they had another race to {g}. This time they got there [at the same time|side by side]. \"[We both win|Well done]!\" {cB}.");
        }
    }
}

/// Rain on the way; wet clothes and a fire.
pub(super) fn rain(s: &mut Teller) {
    s.with_friend();
    s.with_grown_up();
    s.choose(
        b'g',
        &["pick berries", "fly a kite", "play", "pick flowers"],
    );
    s.say("{day}, {I} and {J} went to {place} to {g}. \"[It may rain today|Take your coats|Come home soon],\" {sG}. But they [did not listen|forgot].");
    s.paragraph();
    s.say("[They had a lot of fun. Then|At first, the sun was shining. Then|Soon] [the sky turned gray|the wind began to blow], and it began to rain.[ Drip, drop, drip, drop!| It rained harder and harder.|]");
    s.maybe("[There was a flash and a loud boom.|Thunder rolled across the sky.] {B} was afraid. \"[Hold my hand|Do not be afraid|We must find a dry place]!\" {cA}.");
    match s.below(3) {
        0 => s.say("They ran [to an old barn|to a small cave] and waited there. [They sang songs.|They told each other stories.]"),
        1 => s.say("They sat down under a bridge and [waited|listened to the rain]. A [little frog|gray mouse] sat there too."),
        _ => s.say("{A} [held a big leaf over|put {his} {c} scarf over] their heads, and they ran all the way home."),
    }
    s.say("When they got home, they were wet [from head to toe|and cold].");
    s.paragraph();
    s.say("{A}'s {mom} [gave them dry clothes|wrapped them in warm blankets] and made [hot soup|hot milk with honey|tea]. They sat by the fire until they were [warm and dry|dry] again.");
    s.maybe("\"[We should have listened|Next time we will take our coats],\" {sA}, and {his} {mom} [smiled|laughed].");
    s.night = true;
    if s.extra == Extra::Food {
        s.extra = Extra::None;
    }
}

/// A small animal is hurt or stuck, gets help, and gives something back.
pub(super) fn small_animal(s: &mut Teller) {
    let (animal, home) = s.pick(&[
        ("bird", "nest"),
        ("turtle", "pond"),
        ("kitten", "mother"),
        ("hedgehog", "hole"),
        ("lamb", "mother"),
    ]);
    s.set(b'b', animal);
    s.set(b'h', home);
    s.say("{day}, {I} was walking [to {place}|home|along a path] when {he} heard [a soft cry|a small voice|a small sound].");
    s.say("[{he} looked down and saw|It was] a little {b}. [It was stuck under a branch and could not move.|It had a hurt leg and could not walk.|It had fallen into a hole and could not get out.]");
    s.paragraph();
    s.say("\"[Poor little thing|Do not be afraid|Oh, you poor {b}]. I will help you,\" {sA}.");
    s.maybe("[At first, the {b} was afraid, so {A} moved very slowly.|The {b} was shaking.] {he} [picked it up|lifted it up] and [put it in {his} hat|held it close|put it in a basket].");
    s.say("{he} took it home and gave it [water|something to eat]. {he} made a bed for it in {a}{c} box.");
    if s.once_in(2) {
        s.with_grown_up();
        s.say("\"May I keep it?\" {qA}. \"[It will miss its home|When it is well, you must let it go],\" {sG}.");
    } else {
        s.say("[Every day, {A} sat next to the {c} box and talked to it.|{A} looked after it day and night.]");
    }
    s.say("[After a few days|A week later|Soon], the {b} was well again. [{A} was a little sad, but {he}|So {A}] took it back to its {h}.");
    s.paragraph();
    match s.below(3) {
        0 => s.say("The next [day|morning], the {b} [came back to say hello|was waiting by the door]. Now they were friends."),
        1 => s.say("The {b} looked back once, as if to say thank you. {A} waved until {he} could not see it anymore."),
        _ => s.say("[In the spring|One day], the {b} came back with three little ones. \"[How beautiful|You have a family]!\" {cA}."),
    }
}

/// Snow, a snowman, and what he wears.
pub(super) fn snow(s: &mut Teller) {
    s.with_friend();
    s.choose(b'y', &["hat", "scarf"]);
    s.say("One [winter morning|cold day], {I} looked out of the window. [Everything was white!|It had snowed all night.] {he} put on {his} {c} {y} and ran outside.");
    s.say("{J} was already there. \"Let us [make a snowman|build a big snowman],\" {sB}. So they rolled [two|three] balls of snow.");
    s.paragraph();
    s.say("[They gave him two [stones|nuts] for eyes and a [carrot|stick] for a nose. |]\"[I think he is cold|He needs something warm],\" {sB}.");
    s.say("{A} took off {his} {c} {y} and put it on the snowman.[| \"Now he looks fine,\" {sA}.| \"Now you are warm, snowman,\" {sA}.]");
    s.say("[They danced around him. |They threw snowballs and laughed. |]When {A} went home, {he} [forgot {his} {y}|let the snowman keep the {y}].");
    s.paragraph();
    match s.below(3) {
        0 => {
            s.say("[The next day|A few days later], the sun was warm, and the snowman [was gone|had melted]. Only the {c} {y} lay on the ground. {A} was sad.");
            s.say("\"[He will come back next winter|We will make a new one when it snows],\" {sB}.[ And {A} smiled again.|]");
        }
        1 => {
            s.say("In the night, a cold little [bird|mouse] found the {c} {y} and slept in it. In the morning, {A} saw it.");
            s.say("\"[You may stay|Now the {y} has two friends],\" {sA}. {B} brought some [bread|seeds] for it.");
        }
        _ => {
            s.say("The next morning, the {c} {y} was at the door with [a note. \"Thank you,\" it said|a little snowball next to it].");
            s.say("\"Did you do that?\" {qA}. But {B} only smiled.[ Nobody ever knew who had done it.|]");
        }
    }
    s.night = true;
}

/// Afraid of the water, and then not.
pub(super) fn learn_to_swim(s: &mut Teller) {
    s.with_grown_up();
    let (skill, place, fear, slip) = s.pick(&[
        (
            "swim",
            "to the lake",
            "the water was deep and cold",
            "got water in {his} nose",
        ),
        ("skate", "to the ice", "the ice was hard and smooth", "fell"),
        (
            "climb",
            "to the tall tree",
            "the tree was so high",
            "slipped",
        ),
    ]);
    s.set(b'k', skill);
    s.set(b'p', place);
    s.set(b'e', fear);
    s.set(b'm', slip);
    s.say(
        "{I} wanted to learn to {k}. [All the others could do it.|] But {e}, and {he} was afraid.",
    );
    s.say("{day}, {A} went {p} with {his} {mom}. \"[I can't do it|I am too small],\" {sA}. \"[You do not have to do it all at once|Everyone has to start small|I will be right here|I am with you],\" {sG}.");
    s.paragraph();
    s.say("{A} took a deep breath and tried. But then {he} {m}. [\"I want to go home!\" {cA}.|{he} began to cry.]");
    s.maybe("\"[It was hard for me too when I was small|It is okay to be afraid]. [Shall we try once more|Do you want to try again]?\" {qG}.");
    s.maybe("{A} [thought for a moment|dried {his} tears]. \"[One more time|I will try again],\" {he} said.");
    courage(s);
    s.say("[So they came back every day.|They tried again and again.] Each time, {A} got a little better. [{his} {mom} stayed close to {him}.|]");
    s.say("[And then it happened|Then, one day, it happened]: {A} could {k} all by {himself}! \"[Look at me, {Mom}|I can do it]!\" {cA}.");
    s.paragraph();
    s.say("\"[I am so proud of you|I knew that you could do it],\" {sG}.[ {A} was not afraid anymore.| From then on, {he} wanted to {k} every day.|]");
}
