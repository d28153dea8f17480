//! Settings from text, with the place of every mistake.

use super::RunConfig;

impl RunConfig {
    /// The settings that `text`, a TOML file, states; the others have their defaults.
    ///
    /// # Errors
    /// `line 3, n_layer: what is wrong`.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text[..start].matches('\n').count();
            mistake(text, line, error.message())
        })
    }
}

/// `line 3, n_layer: message`, where line 2, counted from 0, begins with a name.
#[must_use]
pub fn mistake(text: &str, line: usize, message: &str) -> String {
    let here = text.lines().nth(line).unwrap_or_default();
    let name = here.split(['=', ':']).next().unwrap_or_default().trim();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    let name = match is_name {
        true => format!(", {name}"),
        false => String::new(),
    };
    let message = message.trim().replace('\n', " ");
    format!("line {}{name}: {message}", line + 1)
}
