//! Settings from presets, files and flags, laid over each other.

use std::fs;
use std::path::{Path, PathBuf};

use minigpt_models::{PRESETS, Preset};
use minigpt_trainer::durable::Reading;
use minigpt_trainer::run_config::{ModelSettings, Overlay, RunConfig, RunConfigError, mistake};
use toml::{Table, Value};

use crate::failure::Failure;

/// The preset called `name`.
pub(crate) fn preset(name: &str) -> Result<&'static Preset, Failure> {
    minigpt_models::preset(name).ok_or_else(|| {
        let names: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
        Failure::Misuse(format!(
            "there is no preset {name}; there are {}",
            names.join(", ")
        ))
    })
}

/// `base` with the model and the training of `preset`.
pub(crate) fn with_preset(mut base: RunConfig, preset: &Preset) -> Result<RunConfig, Failure> {
    base.preset = Some(preset.name.to_owned());
    base.model = ModelSettings::of(&preset.hyperparameters(1));
    base.data.tokenizer = preset.tokenizer.parse().map_err(Failure::misuse)?;
    base.training.steps = preset.steps;
    base.training.batch = preset.n_batch;
    base.training.learning_rate = preset.learning_rate;
    let mut overlay = Overlay::new(&base);
    for assignment in preset.settings {
        overlay.assign(assignment).map_err(Failure::misuse)?;
    }
    overlay.finish().map_err(Failure::misuse)
}

/// A configuration file.
pub(crate) struct File {
    path: PathBuf,
    text: String,
    /// What it states.
    pub(crate) table: Table,
}

impl File {
    /// Reads a configuration file, TOML or, where its name ends so, YAML. Of a file that a run wrote
    /// only what was chosen counts, not what followed from it.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| {
            Failure::Misuse(format!(
                "cannot read {}: {}",
                path.display(),
                Reading(&error)
            ))
        })?;
        let extension = path.extension().and_then(|extension| extension.to_str());
        let extension = extension.map(str::to_ascii_lowercase);
        let table = match extension.as_deref() {
            Some("yaml" | "yml") => from_yaml(&text),
            _ => from_toml(&text),
        };
        let table =
            table.map_err(|message| Failure::Misuse(format!("{}, {message}", path.display())))?;
        Ok(Self {
            path: path.to_owned(),
            text,
            table: without_derived(table),
        })
    }

    /// Whether it states `field`.
    pub(crate) fn states(&self, field: &str) -> bool {
        let mut sections = self.table.values().filter_map(Value::as_table);
        sections.any(|section| section.contains_key(field))
    }

    /// `my.toml, line 3`, where `field` is stated.
    pub(crate) fn place(&self, field: &str) -> String {
        let begins = |line: &str| {
            let rest = line.trim_start().strip_prefix(field);
            rest.is_some_and(|rest| rest.trim_start().starts_with(['=', ':']))
        };
        match self.text.lines().position(begins) {
            Some(line) => format!("{}, line {}", self.path.display(), line + 1),
            None => self.path.display().to_string(),
        }
    }
}

/// Removes from the settings of a run what followed from the others, and what the run found out.
fn without_derived(mut table: Table) -> Table {
    if table.remove("facts").is_none() {
        return table;
    }
    let bare = table.clone().try_into().map(RunConfig::without_derived);
    let bare = bare.ok().and_then(|config| Table::try_from(config).ok());
    for (name, section) in bare.iter().flatten() {
        if let (Some(Value::Table(stated)), Some(section)) =
            (table.get_mut(name), section.as_table())
        {
            stated.retain(|field, _| section.contains_key(field));
        }
    }
    table
}

/// The table, if it also reads as settings: that way every mistake has a line.
fn from_toml(text: &str) -> Result<Table, String> {
    RunConfig::from_toml(text)?;
    toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
}

fn from_yaml(text: &str) -> Result<Table, String> {
    let settings = serde_saphyr::from_str::<RunConfig>(text);
    settings
        .and_then(|_| serde_saphyr::from_str(text))
        .map_err(|error| {
            let line = error.location().map_or(0, |at| at.line().saturating_sub(1));
            let message = error.without_snippet().to_string();
            let (message, _) = message.split_once(" at line ").unwrap_or((&message, ""));
            mistake(text, line as usize, message)
        })
}

/// What is wrong with `--set` of a setting that does not exist, with the nearest that does.
pub(crate) fn unknown(error: &RunConfigError) -> String {
    let RunConfigError::UnknownField { field, known } = error else {
        return error.to_string();
    };
    let bare = field.rsplit('.').next().unwrap_or(field);
    let distance = |name: &&String| strsim::damerau_levenshtein(bare, name);
    match known.iter().min_by_key(distance) {
        Some(near) if bare != "n_vocab" && distance(&near) <= MOST_SLIPS => {
            format!("there is no such setting; did you mean {near}?")
        }
        _ => error.to_string(),
    }
}

/// Letters wrong in a name that is still recognised.
const MOST_SLIPS: usize = 2;

/// Characters of a line of help.
const WIDTH: usize = 96;

/// `examples` and, below them, every setting with its default.
pub(crate) fn help(examples: &str) -> String {
    let mut text = format!(
        "{examples}\nSettings for --set and --config, with the defaults of --preset cpu. Where they are not \
         given,\nn_head_kv, n_ff, min_learning_rate, muon_learning_rate, warmup_steps and decay_steps follow from \
         the\nothers. 0 is off for grad_clip, skip_z, ema_decay, patience, max_seconds, sample_interval and stories_longest (in bytes, 480 or \
         more),\nand all there is for threads and eval_batches."
    );
    let usual = preset("cpu").and_then(|preset| with_preset(RunConfig::default(), preset));
    let table = usual
        .ok()
        .and_then(|config| Table::try_from(config).ok())
        .unwrap_or_default();
    for (section, fields) in table
        .iter()
        .filter_map(|(name, value)| Some((name, value.as_table()?)))
    {
        let mut line = format!("\n  {:<11}", format!("[{section}]"));
        for (field, value) in fields {
            let item = format!(" {field}={value}");
            if line.len() + item.len() > WIDTH {
                text += &line;
                line = format!("\n  {:<11}", "");
            }
            line += &item;
        }
        text += &line;
    }
    text += "\n  positions is learned, sinusoidal or rope; norm layer_norm or rms_norm; mlp relu, gelu, swiglu \
            or\n  relu_squared; optimizer adamw, or muon for the matrices of the blocks; schedule cosine, constant or wsd (warm-up, stable, decay over the last \
            decay_steps).\n  skip_z=5 leaves out steps whose loss or gradient norm is 5 deviations above \
            the usual; with\n  ema_decay=0.99 a moving average of the weights is validated and \
            exported. quantize_aware is off, q8 or q4: the last\n  quantize_fraction of the steps compute with \
            weights as that format stores them. recompute is auto, on or off:\n  backward makes activations \
            again, which takes less memory; auto does where memory is short. cublaslt=true has NVIDIA's library do\n  products of matrices on a GPU, where it can, to other bits than our kernels. sample_interval=500 has the model\n  write a \
            short text every 500 steps, into samples/\n\nPresets:";
    for preset in &PRESETS {
        let (name, about) = (preset.name, preset.description);
        let (steps, batch, rate) = (preset.steps, preset.n_batch, preset.learning_rate);
        text += &format!(
            "\n  {name:<8} {about}\n           {steps} steps of {batch} windows, learning rate {rate}"
        );
        for setting in preset.settings {
            text += &format!(", {setting}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_file_say_the_same() {
        let toml = from_toml("[model]\nn_layer = 6\n[training]\nlearning_rate = 3e-4\n").unwrap();
        let yaml = from_yaml("model:\n  n_layer: 6\ntraining:\n  learning_rate: 3e-4\n").unwrap();
        assert_eq!(toml, yaml);
        assert_eq!(toml["model"]["n_layer"].as_integer(), Some(6));
    }

    #[test]
    fn mistakes_have_line_and_field() {
        let cases = [
            (
                "[model]\nn_layers = 6\n",
                "line 2, n_layers: unknown field `n_layers`, expected one of `n_ctx`",
            ),
            (
                "[model]\n\nn_layer = \"6\"\n",
                "line 3, n_layer: invalid type: string \"6\", expected u32",
            ),
            ("[model\n", "line 1: "),
            (
                "[training]\nbatch = -3\n",
                "line 2, batch: invalid value: integer `-3`, expected u32",
            ),
        ];
        for (text, message) in cases {
            let error = from_toml(text).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
        for text in ["model:\n  n_layers: 6\n", "model:\n  n_layer: six\n"] {
            let error = from_yaml(text).unwrap_err();
            assert!(error.starts_with("line 2, n_layer"), "{error}");
        }
    }

    #[test]
    fn the_settings_of_a_run_follow_again() {
        let mut run = RunConfig::default();
        run.model.n_ff = Some(100);
        let text = toml::to_string(&run.resolve().unwrap()).unwrap();
        let facts = "\n[facts]\nversion = \"1\"\nn_vocab = 1\nn_params = 1\ntrain_tokens = 1\nval_tokens = 1\ndata = []\nval_data = []\n";
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.TOML");
        fs::write(&path, text + facts).unwrap();
        let file = File::read(&path).unwrap();
        assert!(!file.states("n_head_kv") && !file.states("warmup_steps"));
        assert!(file.states("n_ff") && file.states("n_head") && !file.states("version"));
        assert!(file.place("n_ff").contains(", line "));
        let path = dir.path().join("my.YAML");
        fs::write(&path, "model:\n  n_layer: 6\n").unwrap();
        let file = File::read(&path).unwrap();
        assert!(file.states("n_layer") && file.place("n_layer").ends_with("line 2"));
    }

    #[test]
    fn every_preset_is_a_run() {
        for preset in &PRESETS {
            with_preset(RunConfig::default(), preset)
                .unwrap()
                .resolve()
                .unwrap();
        }
        assert!(matches!(preset("none"), Err(Failure::Misuse(m)) if m.contains("stories, ")));
    }
}
