//! What was said, and how it is kept.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Outcome};
use crate::output;

/// A message, as chat templates know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) role: Role,
    pub(super) content: String,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    /// As chat templates know it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// A conversation; what `/save` writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Conversation {
    /// What the model is told first; may be empty.
    #[serde(default)]
    pub(super) system: String,
    /// A message and its answer in turns.
    pub(super) messages: Vec<Message>,
}

impl Conversation {
    /// The system text and the messages from `first` on.
    pub(super) fn since(&self, first: usize) -> Vec<Message> {
        let system = (!self.system.is_empty()).then(|| Message {
            role: Role::System,
            content: self.system.clone(),
        });
        let rest = self.messages[first..].iter().cloned();
        system.into_iter().chain(rest).collect()
    }

    pub(super) fn push(&mut self, role: Role, content: &str) {
        let content = content.to_owned();
        self.messages.push(Message { role, content });
    }

    pub(super) fn load(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| Failure::reading(path, &error))?;
        let parsed: Result<Self, _> = serde_json::from_str(&text);
        let loaded = parsed.ok().filter(Self::alternates);
        loaded.ok_or_else(|| {
            Failure::Misuse(format!(
                "{} is no conversation that /save wrote; give one of those",
                path.display()
            ))
        })
    }

    pub(super) fn save(&self, path: &Path) -> Outcome {
        let json = serde_json::to_string_pretty(self).map_err(Failure::failed)?;
        output::replace_alike(path, (json + "\n").as_bytes(), "conversation").map(|_| ())
    }

    /// Whether each message has its answer.
    fn alternates(&self) -> bool {
        let mut pairs = self.messages.chunks(2);
        pairs.all(|pair| {
            let roles: Vec<Role> = pair.iter().map(|message| message.role).collect();
            roles == [Role::User, Role::Assistant]
        })
    }
}
