//! Plots of fear, sharing and friendship.

use super::super::frame::courage;
use super::super::teller::{Extra, Teller};
use super::super::words::{CLOTHES, TOYS};

/// Noises in the night turn out to be small.
pub(super) fn dark(s: &mut Teller) {
    s.with_grown_up();
    s.choose(
        b'n',
        &[
            "a loud knock",
            "a strange noise",
            "a soft scratching sound",
            "a low sound",
        ],
    );
    s.say("{I} was afraid of the dark. [Every night, {he} asked for a light.|When the sun went down, {he} hid under the blanket.|]");
    s.say("One [cold|windy|stormy|quiet] night, {he} heard {n} [at the window|behind the door|under the bed].");
    s.paragraph();
    s.say("\"[Who is there|What is that]?\" {qA}. {his} heart [beat fast|jumped].");
    if s.once_in(2) {
        s.say("{he} [ran to|called] {his} {mom}. \"There is a monster in my room!\" {cA}.");
        s.say("\"[Let us look together|Take my lamp and we will look],\" {sG}, and [held {A}'s hand|went with {him}].");
        s.set(b'q', "they");
    } else {
        s.say("{he} wanted to [hide|call {his} {mom}]. But then {he} thought, \"[I can be brave|I am not a baby|I will look for myself].\"");
        s.say(
            "{he} [took a lamp|took a small light] and got out of bed.[ {his} legs were shaking.|]",
        );
        s.set(b'q', if s.hero.male { "he" } else { "she" });
    }
    courage(s);
    match s.below(4) {
        0 if s.animal.is_none() => {
            s.say("And what did {q} see? It was a [gray|black|white] kitten, [wet and cold|small and hungry]!");
            s.say("{A} [gave it some milk|put it in a warm blanket], and the kitten [purred|fell asleep].");
        }
        1 => {
            s.say("And what did {q} see? It was only the branch of a tree that moved in the wind!");
            s.say("{A} laughed. \"[Hello, tree|Good night, tree]!\" {he} said.");
        }
        2 => {
            s.say("And what did {q} see? It was only [an owl|a little bird] that looked for a warm place!");
            s.say("\"[You are afraid too|You only wanted to come in],\" {sA}.");
        }
        _ => {
            s.say("And what did {q} see? It was only {his} own {c} coat on a chair!");
            s.say("[\"You are not a monster,\" {sA}.|{A} laughed and laughed.]");
        }
    }
    s.paragraph();
    s.say("[From that night on|After that], {A} was not afraid of the dark. {he} [knew that it was only the day with the light out|liked to look at the stars|slept well every night].");
    s.extra = Extra::None;
    s.night = true;
}

/// A few things to eat, and someone who has none.
pub(super) fn one_snack(s: &mut Teller) {
    s.with_friend();
    s.choose(b's', &["cookies", "apples", "pears", "muffins", "carrots"]);
    let (all, each, left) = s.pick(&[
        ("two", "one", "one"),
        ("four", "two", "two"),
        ("six", "three", "three"),
    ]);
    s.set(b'n', all);
    s.set(b'e', each);
    s.set(b'l', left);
    s.say("{day}, {I} had {n} {s} in {a}{c} bag. {he} [wanted to eat them all|was very hungry|took them to {place}].");
    s.say("{he} sat down under a tree. Then {he} saw {J}. {B} looked [sad|tired and hungry].");
    s.paragraph();
    s.say("\"[What is wrong|Why are you sad], {B}?\" {qA}. \"[I forgot my lunch|I have nothing to eat|I dropped my lunch in the mud],\" {sB}.");
    s.say("{A} looked at the {c} bag. [\"If I share, I will have only {l},\" {he} thought.|It was not easy to give any away.|There were only {n} {s}.]");
    s.maybe(
        "But {B} was {his} {rel}, [and {A} could not eat while {B} was hungry|and {A} liked to see {him2} smile].",
    );
    s.say("\"[Here, {e} for you and {l} for me|Take {e} of them],\" {sA}. {B} [began to smile|smiled for the first time that day].");
    s.maybe("They [sat side by side and|both] ate the {s}. [They tasted even better that way.|\"They are so good,\" {sB}.]");
    s.paragraph();
    if s.once_in(2) {
        s.say("The next day, {A} [had no lunch|forgot to bring lunch]. But {B} came with a big [cake|pie]. \"Now it is my turn to share,\" {sB}.");
    } else {
        s.say("\"Thank you, {A}. You are a [good|kind|great] {rel},\" {sB}. [{A} felt warm inside.|Then they played all afternoon.]");
    }
    s.maybe("{A} [learned|knew now] that [sharing makes two people happy|it is good to share].");
}

/// One toy and two who want it.
pub(super) fn turns(s: &mut Teller) {
    s.with_friend();
    s.choose_item(TOYS);
    s.say("{day}, {I} and {J} found {ax} {at}. \"[I saw {xo} first|Mine|I want {xo}]!\" {cA}. \"No, [I saw {xo} first|I want {xo}]!\" {cB}.");
    s.paragraph();
    s.say("{A} [pulled|took the {x} and pulled], and {B} pulled too. [They both got very angry.|Nobody wanted to let go.]");
    if s.item.plural {
        s.say("[Then the {x} fell in the mud.|Then all the {x} fell on the ground.] {A} and {B} [looked at them and were quiet|stopped and were sorry].");
    } else {
        s.say("[Then the {x} fell in the mud.|Then the {x} fell on the ground.] {A} and {B} [looked at it and were quiet|stopped and were sorry].");
    }
    match s.below(3) {
        0 => {
            s.with_grown_up();
            s.say("{A}'s {mom} [came by|had seen it all]. \"[If you fight, nobody can play|There is a better way]. [Why don't you take turns|Can you play together]?\" {qG}.");
        }
        1 => s.say("\"This is no fun,\" {sB}. \"[Let us take turns|Maybe we can play with {xo} together].\""),
        _ => s.say("{A} [thought for a while|was ashamed]. \"[I do not want to fight with you|You are my {rel}]. [Let us take turns|You can go first],\" {sA}."),
    }
    s.say("So they cleaned the {x}. First {B} played with {xo}, and then it was {A}'s turn.[ They laughed more and more.|]");
    s.maybe("[It was much more fun together.|\"You are very good at this,\" {sB}.]");
    s.paragraph();
    s.maybe("[When it was time to go home|Later], {A} said, \"You may keep the {cx} tonight, and I will have {xo} tomorrow.\"");
    s.say("[\"Thank you,\" {sB}, and|After that,] they were good friends again.");
}

/// Something breaks, and the truth is hard to say.
pub(super) fn broken(s: &mut Teller) {
    s.with_grown_up();
    s.choose(b'b', &["cup", "bowl", "lamp", "plate", "pot"]);
    s.choose(b'g', &["ran", "danced", "jumped", "threw a ball"]);
    s.say("{I} knew that {he} should not play in the kitchen. [But one day, it was raining outside.|But one day, {he} forgot.]");
    s.say("{he} {g} [around the table|near the table], and [crash|bang]! {his} {mom}'s {c} {b} fell down and broke.");
    s.paragraph();
    s.maybe("{A} [was afraid|felt very bad|did not know what to do]. {his} {mom} loved that {b}.");
    s.say("[First|Quickly], {he} hid the pieces [under the bed|in a box|behind the door]. But {he} [felt bad all day long|could not eat and could not play].");
    s.say("[At dinner|In the evening], {his} {mom} asked, \"[Have you seen my {c} {b}|Do you know where my {b} is]?\"");
    s.say("{A} [looked at the floor|began to cry|took a deep breath]. \"I broke it. [I am so sorry|I was playing in here, and I am sorry],\" {sA}.");
    s.paragraph();
    s.say("{his} {mom} was quiet for a moment. Then {he3} said, \"[Thank you for telling me|I am a little sad, but you told the truth]. [That was brave|I love you more than any {b}].\"");
    s.maybe("[Together they|The next day, they] [put the pieces together with glue|painted a new {b}]. [It was not perfect, but they both liked it.|It looked funny, and they laughed.]");
    s.maybe("{A} felt [light and happy|much better]. {he} [never hid a thing again|knew now that it is best to tell the truth].");
}

/// Someone new moves in and is shy.
pub(super) fn new_neighbor(s: &mut Teller) {
    s.with_friend();
    s.sibling = false;
    s.choose(
        b'g',
        &[
            "play ball",
            "draw with chalk",
            "build a sand castle",
            "fly a kite",
            "jump rope",
        ],
    );
    let who = match (s.animal.is_some(), s.friend.male) {
        (true, _) => s.friend_kind(),
        (_, true) => "boy",
        _ => "girl",
    };
    s.set(b'k', who);
    s.say("{day}, {I} saw a new {k} [next door|by the fence|across the road]. The {k} [stood alone|looked sad] and [did not say a word|held {a}{c} bag].");
    s.say("\"Hello! [I am {A}. What is your name|My name is {A}. Who are you]?\" {qA}. But the {k} [ran away|only looked down|hid behind a tree].");
    s.paragraph();
    s.maybe("{A} [was not angry|thought about it]. \"It is hard to be new,\" {he} thought.");
    s.say("So the next day, {A} came back with [a flower|an apple|a drawing] and [put it on the steps|left it by the door]. ");
    s.say("[Soon|After a while], the door opened. \"[Is this for me|Did you bring this]?\" asked the {k}. \"Yes,\" {sA}. \"[Do you want to {g}|Would you like to {g}]?\"");
    s.say("\"My name is {B},\" said the {k} [softly|with a smile]. \"[I do not know how to {g}|I had no friends here|I would like that].\" \"[Come with me|Now you have me]!\" {sA}.");
    s.paragraph();
    s.say("[They played until dinner.|So {A} and {B} went to {place} to {g}.|They laughed all afternoon.] {B} was not shy anymore.");
    s.maybe(
        "[From that day on|After that], {A} and {B} [were best friends|played together every day].",
    );
}

/// Two swap what they wear and swap back.
pub(super) fn swap(s: &mut Teller) {
    s.with_friend();
    s.choose_item(CLOTHES);
    s.choose(b'd', &["green", "black", "pink", "gray"]);
    s.choose(b'y', &["coat", "cap", "sweater", "belt"]);
    s.choose(b'c', &["red", "blue", "yellow", "white"]);
    s.say("{I} had {ax}, and {his} {rel} {B} had a {d} {y}. [Both were new.|They wore them every day.|]");
    s.knows_friend();
    s.say("{day}, {A} said, \"[I like your {d} {y}|Your {y} is so pretty]. [Shall we swap?|Let us swap!]\" \"[Good idea|Yes, let us do it],\" {sB}.");
    s.say("So {B} [put on|took] the {cx}, and {A} [put on|took] the {d} {y}.");
    s.paragraph();
    if s.item.plural {
        s.say("But the {x} were too [big|small] for {B}, and the {y} was [not the right size|too tight] for {A}.");
    } else {
        s.say("But the {x} was too [big|small] for {B}, and the {y} was [not the right size|too tight] for {A}.");
    }
    s.maybe("{B} [could not run|felt cold], and {A} [looked funny|missed {his} {x}]. [Neither wanted to say it.|They walked along and said nothing.]");
    s.say("[Then {B} began to laugh.|Then they looked at each other and laughed.] \"[I like your {x}, but I like my {y} more|I think I want my {y} back],\" {sB}.");
    s.say("\"[And I want my {x} back|And I miss my {x}]!\" {sA}.");
    s.paragraph();
    s.say("So {B} gave back the {cx}, and {A} gave back the {d} {y}. [Now both were happy.|Each was happy again.]");
    s.maybe("[\"It was fun to try,\" {sA}.|They were still the best of friends.|They learned that what you have is often just right.]");
}
