use super::*;

const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Of Llama 2, as Hugging Face carries it.
const LLAMA: &str = "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}";

fn conversation() -> Vec<Message> {
    vec![
        message(Role::System, "Be kind."),
        message(Role::User, "Hi"),
        message(Role::Assistant, "Hello!"),
        message(Role::User, " Bye "),
    ]
}

fn rendered(source: &str) -> (Template, String) {
    let template = Template::new("a test", source).unwrap();
    let text = template
        .render(&conversation(), true, "<s>", "</s>")
        .unwrap();
    (template, text)
}

#[test]
fn templates_write_what_hugging_face_writes() {
    let (template, text) = rendered(CHATML);
    assert_eq!(
        text,
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n\
         Hello!<|im_end|>\n<|im_start|>user\n Bye <|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(
        (template.stops(), &template.lead[..]),
        (vec!["<|im_end|>".to_owned()], "")
    );
    let (template, text) = rendered(LLAMA);
    assert_eq!(
        text,
        "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST] Hello! </s><s>[INST] Bye [/INST]"
    );
    // The model ends its answers with a token.
    assert_eq!((template.stops(), &template.lead[..]), (vec![], " "));
}

#[test]
fn the_plain_templates_write_dialogue_and_nothing() {
    let (template, text) = rendered(PLAIN);
    assert_eq!(
        text,
        "<s>Be kind.\n\nUser: Hi\nAssistant: Hello!\nUser:  Bye \nAssistant:"
    );
    assert_eq!(
        (template.stops(), &template.lead[..]),
        (vec!["\nUser:".to_owned()], " ")
    );
    assert_eq!(
        (template.answer(" Yes"), template.answer("Yes")),
        ("Yes", "Yes")
    );
    let (template, text) = rendered(BARE);
    assert_eq!(text, "<s>Be kind.\nHiHello!\n Bye ");
    assert_eq!((template.stops(), &template.lead[..]), (vec![], ""));
}

#[test]
fn nobody_says_a_token() {
    let template = Template::new(
        "a test",
        "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}",
    )
    .unwrap();
    let said = [message(Role::User, "a\u{fdd0}b\u{fdd1}")];
    let text = template
        .render(&said, true, &BOS.to_string(), &EOS.to_string())
        .unwrap();
    assert_eq!(text, "\u{fdd0}a\u{fffd}b\u{fffd}\u{fdd1}");
}

#[test]
fn the_system_text_is_what_is_kept() {
    let template = Template::new("a test", PLAIN).unwrap();
    let conversation = Conversation {
        system: "Be kind.".to_owned(),
        messages: vec![message(Role::User, "Hi")],
    };
    let n_keep = template.n_keep(&Tokenizer::Byte, &conversation).unwrap();
    assert_eq!(n_keep, "Be kind.\n\nUser: ".len());
}

#[test]
fn broken_templates_are_one_sentence() {
    for (source, words) in [
        ("{% for %}", "does not work in line 1"),
        ("{{ raise_exception('No users here') }}", "No users here"),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}",
            "fuel",
        ),
        ("{{ messages.nothing.at_all }}", "does not work"),
    ] {
        match Template::new("chat.jinja", source) {
            Err(Failure::Misuse(sentence)) => {
                assert!(
                    sentence.starts_with("chat.jinja") && sentence.contains(words),
                    "{sentence}"
                );
                assert_eq!(sentence.lines().count(), 1);
            }
            other => panic!("{source}: {other:?}"),
        }
    }
}
