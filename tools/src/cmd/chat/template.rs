//! How a conversation is written for a model: Jinja, as Hugging Face's chat templates are.

use std::fs;
use std::path::Path;

use minigpt_runtime::Tokenizer;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, context};
use minijinja_contrib::pycompat;

use super::conversation::{Conversation, Message, Role};
use crate::failure::Failure;
use crate::generation::prompt::encode;

/// Where a file carries no template: what people write who write a dialogue down.
const PLAIN: &str = "\
{{ bos_token }}{% for message in messages %}\
{% if message['role'] == 'user' %}{{ 'User: ' ~ message['content'] ~ '\\n' }}\
{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' ~ message['content'] ~ '\\n' }}\
{% else %}{{ message['content'] ~ '\\n\\n' }}{% endif %}\
{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}";

/// Nothing but the words: the model goes on with the message.
const BARE: &str = "\
{{ bos_token }}{% for message in messages %}{{ message['content'] }}\
{% if message['role'] != 'user' %}{{ '\\n' }}{% endif %}{% endfor %}";

// Unicode promises never to assign these; they stand for tokens, and for a place.
const BOS: char = '\u{fdd0}';
const EOS: char = '\u{fdd1}';
const PLACE: &str = "\u{fdd2}";
const OTHER_PLACE: &str = "\u{fdd3}";

/// Steps that a template may take: it comes from a file that nobody vouches for.
const FUEL: u64 = 10_000_000;

/// A template that works.
#[derive(Debug)]
pub(crate) struct Template {
    source: String,
    environment: Environment<'static>,
    /// Where it comes from.
    name: String,
    /// What it writes between the invitation to answer and an answer.
    lead: String,
    stop: Option<String>,
}

impl Template {
    /// The one that was asked for, or the model's `own`, or the plain one.
    pub(super) fn open(asked: Option<&Path>, own: &str) -> Result<Self, Failure> {
        let Some(path) = asked else {
            return match own {
                "" => Self::new("the plain chat template", PLAIN),
                own => Self::new("the chat template in the model file", own),
            };
        };
        match path.to_str() {
            Some("plain") => Self::new("the plain chat template", PLAIN),
            Some("bare") => Self::new("the bare chat template", BARE),
            _ => Self::read(path),
        }
    }

    /// The one in the file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let source = fs::read_to_string(path);
        let source = source.map_err(|error| Failure::reading(path, &error))?;
        Self::new(&path.display().to_string(), &source)
    }

    /// As it was written.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    fn new(name: &str, source: &str) -> Result<Self, Failure> {
        let mut syntax = SyntaxConfig::builder();
        let syntax = syntax.trim_blocks(true).lstrip_blocks(true).build();
        let syntax = syntax.map_err(|error| broken(name, &error))?;
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_syntax(syntax);
        environment.set_unknown_method_callback(pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<String, Error> {
                Err(Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        let added = environment.add_template_owned("chat", source.to_owned());
        added.map_err(|error| broken(name, &error))?;
        let mut template = Self {
            source: source.to_owned(),
            environment,
            name: name.to_owned(),
            lead: String::new(),
            stop: None,
        };
        // Whatever is wrong with it is said now, and not after the first message.
        let asked = template.render(&[message(Role::User, PLACE)], true, "", "")?;
        let answered = [
            message(Role::User, PLACE),
            message(Role::Assistant, OTHER_PLACE),
        ];
        let alone = template.render(&answered, false, &BOS.to_string(), &EOS.to_string())?;
        template.lead = lead(&asked, &template.render(&answered, false, "", "")?);
        let next = [&answered[..], &[message(Role::User, PLACE)]].concat();
        let followed = template.render(&next, false, &BOS.to_string(), &EOS.to_string())?;
        template.stop = stop(&alone, &followed);
        Ok(template)
    }

    /// What a model writes behind an answer, where that is text.
    pub(super) fn stops(&self) -> Vec<String> {
        self.stop.iter().cloned().collect()
    }

    /// An answer without what the template itself puts in front of it.
    pub(super) fn answer<'t>(&self, text: &'t str) -> &'t str {
        text.strip_prefix(&self.lead[..]).unwrap_or(text)
    }

    /// `messages` in tokens, up to where the answer begins.
    pub(super) fn tokens(
        &self,
        tokenizer: &Tokenizer<'_>,
        messages: &[Message],
    ) -> Result<Vec<u32>, Failure> {
        let specials = tokenizer.specials();
        let mark =
            |token: Option<u32>, mark: char| token.map_or_else(String::new, |_| mark.to_string());
        let (bos, eos) = (mark(specials.bos, BOS), mark(specials.eos, EOS));
        let text = self.render(messages, true, &bos, &eos)?;
        let mut tokens = Vec::new();
        for part in text.split_inclusive([BOS, EOS]) {
            let words = part.trim_end_matches([BOS, EOS]);
            tokens.extend(self.encoded(tokenizer, words)?);
            if part.ends_with(BOS) {
                tokens.extend(specials.bos);
            } else if part.ends_with(EOS) {
                tokens.extend(specials.eos);
            }
        }
        match tokens.is_empty() {
            true => Err(Failure::Misuse(format!(
                "{} writes nothing for this message; mend it, or choose another with --template",
                self.name
            ))),
            false => Ok(tokens),
        }
    }

    /// How many tokens in front do not depend on the messages: the system text.
    pub(super) fn n_keep(
        &self,
        tokenizer: &Tokenizer<'_>,
        conversation: &Conversation,
    ) -> Result<usize, Failure> {
        let Some(message) = conversation.messages.last() else {
            return Ok(0);
        };
        let begun = |content: &str| {
            let mut messages = conversation.since(conversation.messages.len());
            messages.push(self::message(Role::User, content));
            self.tokens(tokenizer, &messages)
        };
        // Two messages that begin with different characters, which the model knows.
        let content = &message.content;
        let other = content.chars().rev().find(|c| !content.starts_with(*c));
        let (one, two) = (
            begun(content)?,
            begun(&other.map_or_else(String::new, String::from))?,
        );
        Ok(one.iter().zip(&two).take_while(|(a, b)| a == b).count())
    }

    fn encoded(&self, tokenizer: &Tokenizer<'_>, text: &str) -> Result<Vec<u32>, Failure> {
        encode(tokenizer, text, "the message").map_err(|failure| {
            let known = encode(tokenizer, "User: Assistant:\n", "").is_ok();
            match (failure, known || self.name.contains("bare")) {
                (Failure::Misuse(sentence), false) => Failure::Misuse(format!(
                    "{sentence}, and use --template bare if it is not in your message"
                )),
                (failure, _) => failure,
            }
        })
    }

    fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        bos_token: &str,
        eos_token: &str,
    ) -> Result<String, Failure> {
        // Nobody says a token.
        let clean = |content: &str| content.replace([BOS, EOS], "\u{fffd}");
        let messages = messages.iter().map(|message| {
            context! { role => message.role.name(), content => clean(&message.content) }
        });
        let messages: Vec<_> = messages.collect();
        let rendered = self.environment.get_template("chat").and_then(|template| {
            template.render(context! { messages, add_generation_prompt, bos_token, eos_token })
        });
        rendered.map_err(|error| broken(&self.name, &error))
    }
}

fn message(role: Role, content: &str) -> Message {
    let content = content.to_owned();
    Message { role, content }
}

fn broken(name: &str, error: &Error) -> Failure {
    let detail = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    let line = error
        .line()
        .map_or_else(String::new, |line| format!(" in line {line}"));
    let detail = detail.replace('\n', " ");
    Failure::Misuse(format!(
        "{name} does not work{line}: {detail}; mend it, or choose another with --template"
    ))
}

/// The white space that stands in front of the answer in `answered`, but not at the end of `asked`.
fn lead(asked: &str, answered: &str) -> String {
    let before = answered.split(OTHER_PLACE).next().unwrap_or_default();
    let lead = before.strip_prefix(asked).unwrap_or_default();
    match lead.trim().is_empty() {
        true => lead.to_owned(),
        false => String::new(),
    }
}

/// What stands behind an answer whether or not a message follows, or else what stands before the message;
/// none where that is a token, or nothing.
fn stop(alone: &str, followed: &str) -> Option<String> {
    let after = |text: &str| Some(text.split_once(OTHER_PLACE)?.1.to_owned());
    let (alone, followed) = (after(alone)?, after(followed)?);
    let common = alone
        .chars()
        .zip(followed.chars())
        .take_while(|(a, b)| a == b);
    let common: String = common.map(|(a, _)| a).collect();
    let between = followed.split(PLACE).next().unwrap_or_default();
    let behind = match common.trim().is_empty() {
        true => between,
        false => &common,
    };
    let words = behind.split([BOS, EOS]).next().unwrap_or_default();
    let words = words.trim_end();
    (!words.is_empty()).then(|| words.to_owned())
}

#[cfg(test)]
mod tests;
