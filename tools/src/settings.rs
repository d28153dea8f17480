//! Settings from presets, files and flags, laid over each other.

use std::fs;
use std::path::Path;

use minigpt_models::{PRESETS, Preset};
use minigpt_trainer::run_config::{ModelSettings, RunConfig};
use toml::Table;

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
    Ok(base)
}

/// Reads a configuration file, TOML or, where its name ends so, YAML.
pub(crate) fn read_file(path: &Path) -> Result<Table, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::Misuse(format!("cannot read {}: {error}", path.display())))?;
    let extension = path.extension().and_then(|extension| extension.to_str());
    let table = match extension {
        Some("yaml" | "yml") => from_yaml(&text),
        _ => from_toml(&text),
    };
    table.map_err(|message| Failure::Misuse(format!("{}, {message}", path.display())))
}

/// The table, if it also reads as settings: that way every mistake has a line.
fn from_toml(text: &str) -> Result<Table, String> {
    let settings = toml::from_str::<RunConfig>(text);
    settings
        .and_then(|_| toml::from_str(text))
        .map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text[..start].matches('\n').count();
            mistake(text, line, error.message())
        })
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

/// `line 3, n_layer: what is wrong`, where the line counted from 0 begins with a name.
fn mistake(text: &str, line: usize, message: &str) -> String {
    let here = text.lines().nth(line).unwrap_or_default();
    let name = here.split(['=', ':']).next().unwrap_or_default().trim();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    let name = if is_name {
        format!(", {name}")
    } else {
        String::new()
    };
    format!(
        "line {}{name}: {}",
        line + 1,
        message.trim().replace('\n', " ")
    )
}

/// Characters of a line of help.
const WIDTH: usize = 96;

/// `examples` and, below them, every setting with its default.
pub(crate) fn help(examples: &str) -> String {
    let mut text = format!(
        "{examples}\nSettings for --set and --config, with the defaults of --preset cpu. Where they are not \
         given,\nn_head_kv, n_ff, min_learning_rate and warmup_steps follow from the others. 0 is off for \
         grad_clip,\npatience and max_seconds, and all there is for threads and eval_batches."
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
    text + "\n  positions is learned, sinusoidal or rope; norm layer_norm or rms_norm; mlp relu, gelu, swiglu \
            or\n  relu_squared"
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
