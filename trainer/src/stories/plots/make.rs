//! Plots of making and growing.

use super::super::teller::Teller;
use super::super::words::CLOTHES;

/// A cake, and one thing that it needs and that is missing.
pub(super) fn cake(s: &mut Teller) {
    s.with_grown_up();
    s.choose(b'c', &["apple", "honey", "carrot", "berry"]);
    s.choose(b'm', &["milk", "butter", "flour", "sugar"]);
    s.choose(b'n', &["old man", "kind woman", "old woman"]);
    s.say(
        "{day}, {I} wanted to make {a}{c} cake with {his} {mom}. \
        ",
    );
    s.maybe("[They washed their hands and got|{A} put on a white apron and took] a big bowl.");
    s.say("But [there was no {m} in the house|when {he} looked for the {m}, it was all gone].");
    s.paragraph();
    s.maybe("\"[We cannot make a cake without {m},\" {sA}|What can we do now?\" {qA}]. [{he} felt sad.|]");
    s.say(
        "\"[Let us ask our neighbor|You can ask our neighbor|Maybe our neighbor has some],\" {sG}.",
    );
    s.say("So {A} [went|ran] next door. {a}{n} opened the door.");
    s.say("\"May I have some {m}, please?\" {qA}.");
    s.say("\"[Of course|Here you are|Take as much as you need],\" said the {n}, and gave {him} some {m}.");
    s.say("{A} [hurried home|walked home with care] and mixed it [all|with the rest]. Then {his} {mom} put the cake in the oven.");
    s.maybe("Soon the house smelled [sweet|wonderful|so good].");
    s.paragraph();
    s.say("When the {c} cake was ready, {A} took a big piece to the {n}. \"[This is for you|Thank you for the {m}],\" {he} said.");
    s.maybe("\"[This is the best cake I have ever eaten|How kind of you|What a good cake]!\" said the {n}.");
}

/// A seed that takes its time.
pub(super) fn seed(s: &mut Teller) {
    s.with_grown_up();
    s.choose(b'g', &["sunflower", "rose", "bean", "pumpkin", "apple"]);
    s.choose(
        b'p',
        &[
            "in the garden",
            "in a big pot",
            "next to the house",
            "by the fence",
        ],
    );
    s.choose(b'd', &["two", "three", "four", "five"]);
    s.say("{day}, {I} got {a}{g} seed from {his} {mom}. \"[Put it in the ground and wait|It is small, but it will grow],\" {sG}.");
    s.say("{A} [made a hole|dug a little hole] {p} and put the {g} seed in.[ Then {he} gave it some water.|]");
    s.paragraph();
    s.maybe("The next day, {he} [ran out to look|went to see it], but [there was only dirt|nothing had come up].");
    s.say("{d} days [went by|passed], and still there was [nothing|no plant]. {A} felt [sad|angry|tired of waiting].");
    if s.once_in(2) {
        s.say("\"[Why does it not grow|When will it come up|Did I do something wrong]?\" {qA}.");
        s.say("\"[Good things take time|A seed needs sun, water and time|You must wait a little more],\" {sG}.");
    }
    s.say("But {A} gave it water every [day|morning] and [sang to it|told it stories|pulled out the weeds].");
    match s.below(3) {
        0 => s.maybe("When a storm came, {he} put a box over it."),
        1 => s.maybe("When a bird came to eat it, {he} [chased it away|gave it some bread]."),
        _ => {}
    }
    s.say("Then, one morning, [there was a tiny green leaf|a small green leaf came up]! \"Look, {Mom}! It is growing!\" {cA}.");
    s.paragraph();
    s.maybe("[Week after week|All summer long], it grew and grew.");
    match s.word(b'g') {
        "sunflower" => s.say("[At last|In the end], there was a big yellow sunflower, [taller than|almost as tall as] {A}."),
        "rose" => s.say("[At last|In the end], there were many [red|white] roses, and they smelled sweet."),
        "bean" => s.say("[At last|In the end], there were so many beans that they made a big pot of soup."),
        "pumpkin" => s.say("[At last|In the end], there was a big orange pumpkin, and they made a pie with it."),
        _ => s.say("[Many years later|After some years], it was a fine tree with sweet red apples."),
    }
    s.say("{A} was [proud|very proud]. {he} had learned to wait.");
}

/// A present that must stay a secret.
pub(super) fn surprise(s: &mut Teller) {
    s.with_grown_up();
    s.with_friend();
    s.choose_item(CLOTHES);
    s.say("[It was almost|Soon it would be] the birthday of {A}'s {mom}.");
    s.introduced = true;
    s.say("{A} wanted to [give {him3} a present|surprise {him3}], but {he} had no money.");
    s.say("{he} asked {J} for help. \"[We can make something|Let us make {ax}|I have some {c} wool],\" {sB}.");
    s.say("[So they sat down and made {ax}.|They worked all afternoon and made {ax}.]");
    s.paragraph();
    s.say("[Suddenly|Just then], {A}'s {mom} came to the door. \"What are you two doing?\" {he3} asked.");
    s.say("\"[Nothing|Oh, we are only playing],\" {sA}, and [{B} sat on the {x}|{B} hid the {x} under a pillow|put the {x} behind {his} back].");
    s.maybe("{A}'s {mom} [smiled and went away|looked at them and laughed, but asked no more]. \"[That was close|We must be quick],\" {B} whispered.");
    s.maybe("[They put the {x} in a box.|They wrapped the {x} in paper.] {A} [drew a heart on it|wrote \"For you\" on it|put a flower on top].");
    s.paragraph();
    s.say("The next morning, {A} [ran|came] in. \"Happy birthday, {Mom}!\" {cA}.");
    s.say("{A}'s {mom} opened it and saw the {cx}. \"[{xs} {xis} beautiful|I love {xo}]!\"");
    s.say("\"{B} helped me,\" {sA}. {A}'s {mom} put {xo} on and hugged them both.");
}

/// Something built together that breaks once.
pub(super) fn house_for_birds(s: &mut Teller) {
    s.with_friend();
    s.choose(b'b', &["boat", "bird house", "tree house", "tower", "cart"]);
    s.choose(b'm', &["old boards", "sticks", "old boxes"]);
    s.say("{day}, {I} and {J} wanted to build a {b}. [They had never done it before.|\"It will be the best {b} of all,\" {sB}.]");
    s.say("They found some {m} [behind the house|near the barn|by the road]. {A} [held|cut] the {m}, and {B} tied them together.");
    s.paragraph();
    s.say("[Soon the {b} was ready|At last it was done]. But when [they touched it|the wind blew|{A} let go], it fell apart.");
    s.maybe("[\"It is all your fault!\" {cB}. Then {he2} was sorry. \"I did not mean that,\" {sB}.|\"I give up,\" {sB}. \"It is too hard.\"|{B} wanted to cry.]");
    s.say("\"[Let us try again|We can do better|We must not give up|It must be stronger],\" {sA}.");
    s.say("[This time|So they tried again, and this time] they worked [slowly|with care]. {A} [made it strong with rope|held everything straight], and {B} painted it {c}.");
    s.maybe("When they were done, the {b} [stood firm|did not fall apart|was strong].");
    s.paragraph();
    match s.word(b'b') {
        "boat" => s.say("They put the {c} boat on the water, and it [went up and down with the waves|did not sink]."),
        "bird house" => s.say("They hung it in a tree, and soon a little bird [moved in|looked out of the {c} house and sang]."),
        "tree house" => s.say("They climbed up into the {c} tree house and [could see far away|looked over the whole village]."),
        "tower" => s.say("The {c} tower was taller than {A} and {B}. Everyone came to look at it."),
        _ => s.say("{B} sat in the {c} cart, and {A} pulled it [down the road|around the house]."),
    }
    s.say("\"[We did it|We made it together]!\" {cA}.[ They were very proud of their work.|]");
}
