//! Lines that begin with a slash.

use std::path::Path;

use super::conversation::Conversation;
use super::talk::Talk;
use crate::failure::Failure;
use crate::generation::sampling::checked_seed;
use crate::output::say;

pub(super) const HELP: &str = "\
Commands:
  /help           this list
  /reset          forget the conversation, but not the system text
  /save FILE      write the conversation to a file
  /load FILE      go on with a conversation that was saved
  /seed N         start the random numbers at seed N
  /temp T         choose with temperature T from now on
  /system TEXT    tell the model TEXT first; without TEXT, nothing
  /stats          tokens, speed and settings
  /quit           end, as Ctrl-D does
A message that begins with a slash is written with two.";

/// What a person wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Command<'l> {
    Help,
    Reset,
    Save(&'l Path),
    Load(&'l Path),
    Seed(u64),
    Temperature(f32),
    System(&'l str),
    Stats,
    Quit,
}

/// The command of a line; none if it is a message.
pub(super) fn parse(line: &str) -> Result<Option<Command<'_>>, Failure> {
    let Some(command) = line.strip_prefix('/').filter(|rest| !rest.starts_with('/')) else {
        return Ok(None);
    };
    let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
    let rest = rest.trim();
    let parsed = match (name, rest) {
        ("help", "") => Command::Help,
        ("reset", "") => Command::Reset,
        ("stats", "") => Command::Stats,
        ("quit" | "exit", "") => Command::Quit,
        ("system", text) => Command::System(text),
        ("save" | "load" | "seed" | "temp", "") => {
            return Err(Failure::Misuse(format!(
                "/{name} needs a word behind it; /help says which"
            )));
        }
        ("save", path) => Command::Save(Path::new(path)),
        ("load", path) => Command::Load(Path::new(path)),
        ("seed", number) => Command::Seed(seed(number)?),
        ("temp", number) => Command::Temperature(number.parse().map_err(|_| {
            Failure::Misuse(format!("/temp takes a number, and {number:?} is none"))
        })?),
        ("help" | "reset" | "stats" | "quit" | "exit", _) => {
            return Err(Failure::Misuse(format!(
                "/{name} takes nothing behind it; leave {rest:?} out"
            )));
        }
        _ => {
            return Err(Failure::Misuse(format!(
                "there is no command /{name}; /help lists them, and a message that begins with a slash is \
                 written with two"
            )));
        }
    };
    Ok(Some(parsed))
}

fn seed(number: &str) -> Result<u64, Failure> {
    let parsed = number.parse();
    let parsed = parsed
        .map_err(|_| Failure::Misuse(format!("/seed takes a number, and {number:?} is none")));
    checked_seed("/seed", parsed?)
}

/// A message as it is meant: one of two slashes goes.
pub(super) fn literal(line: &str) -> &str {
    match line.starts_with("//") {
        true => &line[1..],
        false => line,
    }
}

/// Does what is wanted; whether to go on.
pub(super) fn run(talk: &mut Talk<'_>, command: Command<'_>) -> Result<bool, Failure> {
    match command {
        Command::Help => say!("{HELP}"),
        Command::Reset => talk.forget(Conversation {
            system: talk.conversation.system.clone(),
            ..Conversation::default()
        }),
        Command::Save(path) => {
            talk.conversation.save(path)?;
            let n = talk.conversation.messages.len();
            say!("wrote {}: {n} messages", path.display());
        }
        Command::Load(path) => talk.forget(Conversation::load(path)?),
        Command::Seed(seed) => talk.reseed(seed)?,
        Command::Temperature(temperature) => talk.heat(temperature)?,
        Command::System(text) => text.clone_into(&mut talk.conversation.system),
        Command::Stats => say!("{}", talk.stats()),
        Command::Quit => return Ok(false),
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands_or_messages() {
        let parsed = |line| parse(line).unwrap();
        assert_eq!(parsed("hello /help"), None);
        assert_eq!(parsed("//etc is a directory"), None);
        assert_eq!(literal("//etc is a directory"), "/etc is a directory");
        assert_eq!(parsed("/help"), Some(Command::Help));
        assert_eq!(parsed("/temp 0.5"), Some(Command::Temperature(0.5)));
        assert_eq!(
            parsed("/seed 18446744073709551615"),
            Some(Command::Seed(u64::MAX))
        );
        assert_eq!(
            parsed("/system  You are a cat. "),
            Some(Command::System("You are a cat."))
        );
        assert_eq!(parsed("/system"), Some(Command::System("")));
        assert_eq!(
            parsed("/save a b.json"),
            Some(Command::Save(Path::new("a b.json")))
        );
        for (line, words) in [
            ("/hepl", "there is no command /hepl"),
            ("/seed", "/seed needs a word"),
            ("/seed -1", "/seed is -1; it must be between 0 and"),
            ("/seed x", "/seed takes a number"),
            ("/temp hot", "/temp takes a number"),
            ("/reset all", "/reset takes nothing"),
        ] {
            match parse(line) {
                Err(Failure::Misuse(sentence)) => assert!(sentence.contains(words), "{sentence}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
