//! What sets two runs apart.

use core::fmt;

use toml::{Table, Value};

use super::overlay::to_table;
use super::{Facts, RunConfig};
use crate::data::sources::Fingerprint;

/// Settings by which two runs differ and their loss curves with them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Difference {
    /// The setting, or the data file.
    pub field: String,
    /// What the run in the directory has.
    pub old: String,
    /// What was asked for.
    pub new: String,
}

/// Paths do not count: the files behind them do, by size and hash.
pub(super) const PATHS: [&str; 3] = ["files", "val_files", "from"];
/// Settings of the built-in stories, which count only where they are used.
pub(super) const STORIES: [&str; 3] = ["stories_bytes", "stories_longest", "stories_seed"];

impl RunConfig {
    /// Every setting that decides the loss curve and is not the same in `new`.
    ///
    /// `self` must be resolved; `new` need not be, and what it does not state is no difference where
    /// `self` has what follows from its other settings. Data is compared where both have [`Facts`].
    #[must_use]
    pub fn differences(&self, new: &Self) -> Vec<Difference> {
        let resolved = new.clone().resolve().unwrap_or_else(|_| new.clone());
        let (old_table, new_table) = (to_table(self), to_table(&resolved));
        let unstated = (to_table(&self.clone().without_derived()), to_table(new));
        let own_text = !self.data.files.is_empty() && !new.data.files.is_empty();
        let mut found = origin_difference(self, new);
        for section in ["data", "model", "training"] {
            let (old, new) = (table(&old_table, section), table(&new_table, section));
            for (field, value) in new {
                let skipped = section == "data"
                    && (PATHS.contains(&field.as_str())
                        || own_text && STORIES.contains(&field.as_str()));
                let stated = |config| table(config, section).contains_key(field);
                let follows =
                    !stated(&unstated.1) && (!stated(&unstated.0) || self.extended(field));
                let old = old.get(field);
                if !skipped && !follows && old != Some(value) {
                    found.push(Difference {
                        field: field.clone(),
                        old: old.map_or_else(|| "absent".to_owned(), Value::to_string),
                        new: value.to_string(),
                    });
                }
            }
        }
        if let (Some(old), Some(new)) = (&self.facts, &new.facts) {
            data_differences(old, new, &mut found);
        }
        found
    }

    /// Whether `field` is a warm-up or a decay that may have followed from fewer steps: a run that was
    /// taken further keeps those it began with.
    fn extended(&self, field: &str) -> bool {
        let mut rule = self.training.clone();
        (rule.warmup_steps, rule.decay_steps) = (None, None);
        let most = rule.schedule();
        let (steps, most) = match field {
            "warmup_steps" => (self.training.warmup_steps, most.warmup_steps),
            "decay_steps" => (self.training.decay_steps, most.decay_steps),
            _ => return false,
        };
        steps.is_some_and(|steps| steps <= most)
    }
}

/// Whether text of one's own or the built-in stories are learned.
fn origin_difference(old: &RunConfig, new: &RunConfig) -> Vec<Difference> {
    let words = |config: &RunConfig| match config.data.files.first() {
        Some(file) => file.display().to_string(),
        None => "the built-in stories".to_owned(),
    };
    if old.data.files.is_empty() == new.data.files.is_empty() {
        return Vec::new();
    }
    vec![Difference {
        field: "data".to_owned(),
        old: words(old),
        new: words(new),
    }]
}

fn table<'a>(config: &'a Table, section: &str) -> &'a Table {
    config[section].as_table().expect("sections are tables")
}

fn data_differences(old: &Facts, new: &Facts, found: &mut Vec<Difference>) {
    let from = |facts: &Facts| facts.from.iter().cloned().collect::<Vec<_>>();
    let pairs = [
        ("data file", &old.data, &new.data),
        ("data file", &old.val_data, &new.val_data),
        ("from", &from(old), &from(new)),
    ];
    for (field, old, new) in pairs {
        for i in 0..old.len().max(new.len()) {
            let (old, new) = (old.get(i), new.get(i));
            let content = |print: &Fingerprint| (print.bytes, print.xxh64.clone());
            if old.map(content) != new.map(content) {
                found.push(Difference {
                    field: field.to_owned(),
                    old: describe(old),
                    new: describe(new),
                });
            }
        }
    }
}

fn describe(print: Option<&Fingerprint>) -> String {
    match print {
        Some(print) => format!("{} ({} bytes, {})", print.path, print.bytes, print.xxh64),
        None => "none".to_owned(),
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is {} there and {} here",
            self.field, self.old, self.new
        )
    }
}
