//! What the command line asks for: presets, files and flags, laid over each other.

use std::path::{Path, PathBuf};

use minigpt_trainer::base::Base;
use minigpt_trainer::run::RunError;
use minigpt_trainer::run_config::{
    ModelSettings, Overlay, RunConfig, RunConfigError, TokenizerChoice,
};
use toml::Value;

use super::TrainArgs;
use super::destination::Destination;
use crate::failure::Failure;
use crate::library;
use crate::settings;

/// How much smaller steps are that change what is learned already.
const FINER: f64 = 10.0;

impl TrainArgs {
    /// Preset, file and flags, over `stored` where there is a run to go on with.
    pub(crate) fn settings(&self, stored: Option<&RunConfig>) -> Result<RunConfig, Failure> {
        let file = self
            .config
            .as_deref()
            .map(settings::File::read)
            .transpose()?;
        let file = file.as_ref();
        let base = self.base(stored, file)?;
        let mut overlay = Overlay::new(&base);
        if let (Some(file), None) = (file, &self.preset) {
            let mut table = file.table.clone();
            table.remove("preset");
            overlay.merge(table);
        }
        let flags = self.flags()?;
        for (name, value) in &flags {
            overlay.set(name, value.clone()).map_err(Failure::misuse)?;
            let typed = overlay.clone().finish();
            typed.map_err(|error| Failure::Misuse(format!("{}: {error}", flag(name))))?;
        }
        for assignment in &self.set {
            let assigned = overlay.assign(assignment);
            assigned.map_err(|error| {
                Failure::Misuse(format!("--set {assignment}: {}", settings::unknown(&error)))
            })?;
        }
        let mut asked = overlay.finish().map_err(Failure::misuse)?;
        if self.val_fraction.is_none() {
            library::complete(&mut asked.data);
        }
        if let Err(error) = asked.clone().resolve() {
            return Err(Failure::Misuse(self.located(&error, file, &flags)));
        }
        forget_preset(&mut asked);
        Ok(asked)
    }

    /// `asked` with a shape for `destination`, where nobody chose one and the preset's does not fit.
    pub(super) fn suited(
        &self,
        mut asked: RunConfig,
        destination: &Destination,
    ) -> Result<RunConfig, Failure> {
        let known = Overlay::new(&asked);
        let sets = |what: &str| {
            let mut names = self.set.iter().filter_map(|set| set.split('=').next());
            names.any(|name| known.is_of(name.trim(), what))
        };
        let from = asked.data.from.is_some() || self.config.is_some();
        if !(from || self.preset.is_some() || sets("model")) {
            let chosen = self.tokenizer.is_some() || sets("tokenizer");
            let tokenizer = chosen.then_some(asked.data.tokenizer);
            destination.suit(&mut asked, tokenizer)?;
            forget_preset(&mut asked);
        }
        Ok(asked)
    }

    /// What the flags are laid over: a preset that a flag names over the file, or the file over the
    /// preset that it names.
    fn base(
        &self,
        stored: Option<&RunConfig>,
        file: Option<&settings::File>,
    ) -> Result<RunConfig, Failure> {
        let in_file = |key: &str| file.and_then(|file| file.table.get(key));
        if let Some(name) = &self.preset {
            let mut below = Overlay::new(&stored.cloned().unwrap_or_default());
            below.merge(file.map(|file| file.table.clone()).unwrap_or_default());
            let below = below.finish().map_err(Failure::misuse)?;
            return settings::with_preset(below, settings::preset(name)?);
        }
        let named = in_file("preset").and_then(Value::as_str);
        if let (Some(stored), None) = (stored, named) {
            return Ok(stored.clone());
        }
        let files = in_file("data").and_then(|data| data.get("files")?.as_array());
        let has_data = !self.data.is_empty() || files.is_some_and(|files| !files.is_empty());
        let usual = if has_data { "cpu" } else { "stories" };
        let preset = settings::preset(named.unwrap_or(usual))?;
        let mut base = settings::with_preset(stored.cloned().unwrap_or_default(), preset)?;
        let from = in_file("data").and_then(|data| data.get("from")?.as_str());
        if let Some(from) = self.from.as_deref().or(from.map(Path::new)) {
            fine_tuned(&mut base, from)?;
        }
        Ok(base)
    }

    /// `error` behind the flag or the line of the file that made it.
    fn located(
        &self,
        error: &RunConfigError,
        file: Option<&settings::File>,
        flags: &[(&'static str, Value)],
    ) -> String {
        let Some(field) = error.field() else {
            return error.to_string();
        };
        let sets = |text: &&String| {
            let name = text.split('=').next().unwrap_or_default().trim();
            name == field || name.rsplit('.').next() == Some(field)
        };
        if let Some(assignment) = self.set.iter().rfind(sets) {
            format!("--set {assignment}: {error}")
        } else if flags.iter().any(|(name, _)| *name == field) {
            format!("{}: {error}", flag(field))
        } else if let Some(file) = file.filter(|file| file.states(field)) {
            format!("{}: {error}", file.place(field))
        } else {
            error.to_string()
        }
    }

    /// The flags that were given, by the settings that they are.
    fn flags(&self) -> Result<Vec<(&'static str, Value)>, Failure> {
        let path = |path: &PathBuf| match path.to_str() {
            Some(path) => Ok(Value::String(path.to_owned())),
            None => Err(Failure::Misuse(format!(
                "the path {} is not UTF-8; rename it or link to it",
                path.display()
            ))),
        };
        let files = |paths: &[PathBuf]| {
            let values: Result<Vec<_>, _> = paths.iter().map(path).collect();
            values.map(|values| (!values.is_empty()).then_some(Value::Array(values)))
        };
        let tokenizer = self
            .tokenizer
            .map(|choice| Value::String(choice.to_string()));
        let flags = [
            ("files", files(&self.data)?),
            ("val_files", files(&self.val_data)?),
            ("text_field", self.text_field.clone().map(Value::String)),
            ("val_fraction", self.val_fraction.map(Value::Float)),
            ("from", self.from.as_ref().map(path).transpose()?),
            ("tokenizer", tokenizer),
            ("steps", self.steps.map(Value::Integer)),
            ("batch", self.batch.map(Value::Integer)),
            ("learning_rate", self.learning_rate.map(Value::Float)),
            ("seed", self.seed.map(Value::Integer)),
            ("threads", self.threads.map(Value::Integer)),
            (
                "tensorboard",
                self.tensorboard.then_some(Value::Boolean(true)),
            ),
        ];
        let given = flags
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        Ok(given.collect())
    }
}

/// Gives `settings` the shape and the tokenizer of the model at `from`, and a learning rate that does
/// not undo what it has learned.
fn fine_tuned(settings: &mut RunConfig, from: &Path) -> Result<(), Failure> {
    if let Some(shape) = Base::shape_of(from).map_err(RunError::from)? {
        settings.model = ModelSettings::of(&shape);
        settings.data.tokenizer = TokenizerChoice::Kept;
    }
    settings.training.learning_rate /= FINER;
    Ok(())
}

/// How the setting `field` is spelt as a flag.
fn flag(field: &str) -> String {
    match field {
        "files" => "--data".to_owned(),
        "val_files" => "--val-data".to_owned(),
        _ => format!("--{}", field.replace('_', "-")),
    }
}

/// A model of another shape than its preset's is not of that preset.
fn forget_preset(settings: &mut RunConfig) {
    let preset = settings.preset.as_deref().map(settings::preset);
    let Some(Ok(preset)) = preset else {
        return;
    };
    let (shape, of) = (preset.hyperparameters(1), ModelSettings::of);
    if of(&settings.model.hyperparameters(1)) != of(&shape) {
        settings.preset = None;
    }
}
