//! Plots of a visit, a wish, a shop, a bicycle and a big dog.

use super::super::frame::courage;
use super::super::teller::{Extra, Teller};
use super::super::words::{BALLS, TOYS};

/// A visit to someone who is ill, with gifts that change on the way.
pub(super) fn visit(s: &mut Teller) {
    s.grown_up = if s.once_in(2) {
        ("grandma", "Grandma", false)
    } else {
        ("grandpa", "Grandpa", true)
    };
    s.with_grown_up();
    s.choose(b'g', &["bread", "soup", "cake", "pie", "jam"]);
    s.choose(b'y', &["basket", "bag"]);
    s.choose(b'n', &["old man", "little mouse", "gray cat", "small bird"]);
    s.say("{day}, {I} heard that {his} {mom} was [sick|ill] in bed. {he} put some {g} in {a}{c} {y} and [went to visit {him3}|set out].");
    s.maybe("[The way was long.|{he} walked over the hill and through the woods.|The path went past {place}.]");
    s.paragraph();
    s.say("On the way, {he} met {a}{n}. \"[I am so hungry|I have not eaten all day],\" said the {n}. {A} opened the {c} {y} and gave the {n} some of the {g}.");
    match s.below(3) {
        0 => s.say("\"Thank you! Take these flowers,\" said the {n}. So {A} put them in the {c} {y}."),
        1 => s.say("\"You are kind. [I will show you a short way|There is a short way over the bridge],\" said the {n}. So {A} [got there soon|did not have to walk so far]."),
        _ => s.say("\"Thank you! I know a song,\" said the {n}, and taught {him} [a happy song|a song about the moon]. {A} sang it all the way."),
    }
    s.say("[At last|Soon], {A} came to the house and knocked on the door. \"[Come in, my dear,\" {sG}|Is that you, {A}?\" {qG}] in a weak voice.");
    s.paragraph();
    s.say(
        "They ate the {g} together, and {his} {mom} [laughed|smiled] for the first time in days.",
    );
    s.maybe("\"[I feel much better now|You are the best medicine],\" {sG}. \"Will you come again tomorrow?\" \"[Of course I will|Yes]!\" {sA}.");
}

/// Something far away that cannot be had, and something near that can.
pub(super) fn moon(s: &mut Teller) {
    s.with_grown_up();
    s.choose(
        b'g',
        &["a boat", "a cake", "a round cookie", "a silver ball"],
    );
    s.choose(b'y', &["ladder", "kite", "rope", "net"]);
    s.say("One [clear|warm|quiet] night, {I} looked up at the moon. [It looked like {g}. |]\"I want to [touch the moon|hold the moon in my hands],\" {sA}.");
    s.say("{he} [took|got] a {y} and went up the [big hill|highest hill]. [{he} reached up as high as {he} could, but|{he} stood on the tips of {his} toes. But|But] the moon was [too high|too far away].");
    s.paragraph();
    s.say("[An owl|An old owl] sat in a tree and watched {him}.");
    s.maybe("\"What are you doing with that {y}?\" asked the owl. \"I want to catch the moon, but I can't reach it,\" {sA}.");
    s.say("\"[Nobody can catch the moon|The moon is too far away],\" said the owl. \"But [it can come to you. Look|you can look] into the pond.\"");
    s.say("In the water was the moon, [round and bright|big and white]! [{he} put {his} hand in the water, and the moon danced.|{he} touched the water, and the moon broke into many little lights.]");
    s.paragraph();
    s.say("\"[I touched the moon|The moon came to me]!\" {cA}. {he} [thanked the owl|waved to the owl] and [ran|went] home.");
    s.maybe("\"[Tomorrow you can show me|What a lucky night],\" {sG}, and tucked {him} into bed.");
    s.say("[The moon looked in at the window all night long.|Soon {A} was asleep, and the moon was in {his} dreams.]");
    s.night = true;
    s.extra = Extra::None;
}

/// Wheels, falls and at last a ride.
pub(super) fn learn_to_ride(s: &mut Teller) {
    s.with_friend();
    s.say("{I} got {a}{c} bike for {his} birthday. But {he} did not know how to ride it.");
    s.say("{day}, {he} took the bike to the park. {he} [sat on it and pushed|climbed on], but [the bike fell over|{he} fell off at once].");
    s.paragraph();
    s.say("{J} [saw it|was there too]. \"[Do not look at your feet|You must look far ahead],\" {sB}. \"I will hold the bike.\"");
    s.maybe("{A} tried again. {he} [went a little way|rode as far as the bench] and fell [into the grass|on the path]. {he} [wanted to give up|kicked the bike and was angry].");
    s.maybe("\"[I fell ten times when I learned it|Nobody can ride at first]. [Get up and try again|Come on, once more],\" {sB}.");
    s.say("So {A} tried once more. {B} held the {c} bike and ran and ran. Then {A} looked back. {B} was far behind! \"[I am riding all by myself|Look, I can do it]!\" {cA}.");
    s.paragraph();
    s.say("{A} rode [around the pond|all around the park] and rang the bell. \"[Thank you for your help|You are a good teacher], {B},\" {he} said.[ Then {B} had a ride too.|]");
}

/// Money for one thing, and a reason to spend it on another.
pub(super) fn shop(s: &mut Teller) {
    s.with_grown_up();
    s.choose_item(TOYS);
    s.choose(b'n', &["three", "four", "five"]);
    s.choose(b'y', &["rose", "cup", "candle", "little bell"]);
    s.say("{I} saw {ax} in the window of a shop. But {xs} cost {n} coins, and {he} had none.");
    s.say("So {he} [swept the yard|washed the windows|carried bags] for a neighbor and saved {his} coins.");
    s.paragraph();
    s.say("At last {A} had {n} coins! But on the way to the shop, {he} saw {his} {mom}, who was looking at a {y}. \"[How pretty it is|What a beautiful {y}],\" {he3} said.");
    s.say("{A} wanted the {cx}, but {he} wanted {his} {mom} to be happy too.");
    s.say("So {he} went in and bought the {y}. \"[This is for you|I have something for you], {Mom},\" {sA}. {his} {mom} [was very happy|gave {him} a hug].");
    s.paragraph();
    match s.below(3) {
        0 => s.say("[A week later|On {his} birthday], {A} found a box by {his} bed. In it {xwas} the {cx}![ \"You have a kind heart,\" {sG}.|]"),
        1 => s.say("The man in the shop had seen it all. The man [gave {A} a job.|smiled and said, \"You are a good child.\"] Soon {A} [had {n} coins again and bought|came back and bought] the {cx}."),
        _ => s.say("{A} did not get the {cx} that day, but {he} [did not mind|was happy]. [To give was better than to have.|{his} {mom}'s smile was worth more.]"),
    }
}

/// A big dog that only looks bad.
pub(super) fn big_dog(s: &mut Teller) {
    s.with_friend();
    s.choose(b'd', &["black", "brown", "white", "gray"]);
    s.choose_item(BALLS);
    s.say("A big {d} dog lived at the end of the road. [Everyone was afraid of it.|Nobody went near its gate.]");
    s.say("{day}, {I} and {J} were playing with {ax}. {B} threw the {x} too [far|hard], and it flew over the gate to the big {d} dog!");
    s.paragraph();
    s.say("\"I will [get it|go in and ask for it],\" {sA}. [{his} knees were shaking, but|And] {he} opened the gate.");
    courage(s);
    s.say("The dog [stood up|came closer]. [It was as big as a bear. |It had very big teeth. |]\"[Good dog|Hello, dog]. May I have my {x}, please?\" {qA}.");
    s.say("Then the dog [wagged its tail|licked {his} hand] and brought {him} the {cx}. \"[It wants to play|It is not bad at all]!\" {cA}.");
    s.paragraph();
    s.say("{A} threw the {x}, and the dog [ran after it|brought it back] again and again.[ {B} came in too.| \"I think it was only lonely,\" {sB}.|]");
    s.maybe("[From that day on, the three of them played every day.|After that, nobody was afraid of the big {d} dog.]");
}
