//! Settings laid over settings: preset, then file, then flags, in one way for all of them.

use std::path::PathBuf;

use toml::{Table, Value};

use super::{RunConfig, RunConfigError};
use crate::optimizer::Method;
use crate::schedule::Course;

/// A [`RunConfig`] in the making.
#[derive(Clone, Debug)]
pub struct Overlay {
    table: Table,
    /// A configuration in which no field is absent: its keys are the settings there are.
    known: Table,
}

impl Overlay {
    /// Starts from `base`.
    ///
    /// # Panics
    /// Never: a `RunConfig` always is a TOML table.
    #[must_use]
    pub fn new(base: &RunConfig) -> Self {
        let mut full = RunConfig::default();
        // Those of which every setting is stated.
        full.training.schedule = Course::Wsd;
        full.training.optimizer = Method::Muon;
        full.data.from = Some(PathBuf::new());
        let full = full.resolve();
        Self {
            table: to_table(base),
            known: to_table(&full.expect("the default configuration is valid")),
        }
    }

    /// Lays the fields of `table` over what is there; sections are merged field by field.
    pub fn merge(&mut self, table: Table) {
        merge(&mut self.table, table);
    }

    /// Sets one setting to a value.
    ///
    /// # Errors
    /// [`RunConfigError::UnknownField`] if there is no such setting.
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), RunConfigError> {
        let (section, field) = self.find(name)?;
        let entry = self.table.entry(section).or_insert(Table::new().into());
        if let Value::Table(table) = entry {
            table.insert(field, value);
        }
        Ok(())
    }

    /// Sets one setting as `name=value` says, where the name may have its section before it
    /// (`model.n_layer=6`) and the value is TOML or, where it is none, text.
    ///
    /// # Errors
    /// [`RunConfigError::NoAssignment`] or [`RunConfigError::UnknownField`].
    pub fn assign(&mut self, assignment: &str) -> Result<(), RunConfigError> {
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(RunConfigError::NoAssignment {
                text: assignment.to_owned(),
            });
        };
        let parsed = format!("value = {value}").parse::<Table>().ok();
        let value = parsed
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| Value::String(value.trim().to_owned()));
        self.set(name.trim(), value)?;
        // A wrong type is reported here, where the assignment is known.
        self.clone().finish().map(|_| ())
    }

    /// The settings as they now stand, not yet checked.
    ///
    /// # Errors
    /// [`RunConfigError::Type`] if a value does not fit its setting.
    pub fn finish(self) -> Result<RunConfig, RunConfigError> {
        self.table
            .try_into()
            .map_err(|error: toml::de::Error| RunConfigError::Type {
                message: error.to_string().trim().replace('\n', " "),
            })
    }

    /// Names of all settings.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let tables = self.known.values().filter_map(Value::as_table);
        tables.flat_map(|table| table.keys().cloned()).collect()
    }

    /// Whether the setting `name` is `what`, or in the section of that name.
    #[must_use]
    pub fn is_of(&self, name: &str, what: &str) -> bool {
        let found = self.find(name);
        found.is_ok_and(|(section, field)| [section, field].iter().any(|part| part == what))
    }

    /// Section and field of `name`.
    fn find(&self, name: &str) -> Result<(String, String), RunConfigError> {
        let (wanted, field) = match name.split_once('.') {
            Some((section, field)) => (Some(section), field),
            None => (None, name),
        };
        let section = self.known.iter().find(|(section, fields)| {
            wanted.is_none_or(|wanted| wanted == section.as_str())
                && fields
                    .as_table()
                    .is_some_and(|fields| fields.contains_key(field))
        });
        match section {
            Some((section, _)) => Ok((section.clone(), field.to_owned())),
            None => Err(RunConfigError::UnknownField {
                field: name.to_owned(),
                known: self.names(),
            }),
        }
    }
}

pub(super) fn to_table(config: &RunConfig) -> Table {
    Table::try_from(config).expect("a RunConfig is a TOML table")
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}
