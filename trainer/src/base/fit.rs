//! Laying a model's weights into another, as far as they fit.

use core::fmt;

use minigpt_runtime::config::Config;
use minigpt_runtime::layout::{self, Role, Tensor, TensorSpec};

use super::{Base, BaseError, Shown, Stored};
use crate::params::shape;

/// What became of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// It is the other model's.
    Loaded,
    /// The same, after rows and columns changed places.
    Transposed,
    /// Its first rows are; the rest is fresh.
    Rows(usize),
    /// It is fresh: the other model has none of that name.
    Absent,
    /// It is fresh: the other model's has another shape.
    Shape,
    /// It is fresh: the other model's is for the tokens of another tokenizer.
    Tokens,
    /// The other model has it, and this one has no place for it.
    Unknown,
}

/// A tensor of either model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// Its name, without prefixes.
    pub name: String,
    /// Its shape in the other model.
    pub there: Option<Vec<usize>>,
    /// Its shape in this one.
    pub here: Option<Vec<usize>>,
    /// What became of it.
    pub fate: Fate,
}

/// All tensors of both models, and what became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fitted(pub Vec<Row>);

impl Base {
    /// Overwrites of `parameters`, fresh ones of a model of shape `config`, what fits. Tokens mean the
    /// same in both if `same_tokens`.
    ///
    /// # Errors
    /// [`BaseError::NothingFits`].
    pub fn lay(
        &self,
        config: &Config,
        same_tokens: bool,
        parameters: &mut [Vec<f32>],
    ) -> Result<Fitted, BaseError> {
        let transposed = self.is_transposed(config);
        let mut rows = Vec::new();
        for (spec, values) in layout::tensors(config).zip(parameters) {
            let name = spec.id.to_string();
            let stored = self.tensors.get(&name);
            let of_tokens = matches!(spec.id.tensor, Tensor::Wte | Tensor::LmHead);
            let fate = match stored {
                None => Fate::Absent,
                Some(_) if of_tokens && !same_tokens => Fate::Tokens,
                Some(stored) => stored.lay(&spec, transposed, values),
            };
            rows.push(Row {
                name,
                there: stored.map(|stored| stored.shape.clone()),
                here: Some(shape(&spec)),
                fate,
            });
        }
        let known = rows.len();
        for (name, stored) in &self.tensors {
            if rows[..known].iter().all(|row| row.name != *name) {
                rows.push(Row {
                    name: name.clone(),
                    there: Some(stored.shape.clone()),
                    here: None,
                    fate: Fate::Unknown,
                });
            }
        }
        if rows.iter().any(Row::is_loaded) {
            return Ok(Fitted(rows));
        }
        Err(BaseError::NothingFits {
            path: self.path(),
            example: rows.first().map_or_else(String::new, Row::to_string),
            shown: self.shown(),
        })
    }

    /// What its tensors show of its shape, if it does not say it itself, as what has a tokenizer does, and they have
    /// the names of a GPT.
    fn shown(&self) -> Option<Shown> {
        if self.tokenizer.is_some() {
            return None;
        }
        let layer = |name: &str| -> Option<usize> {
            let (layer, _) = name.strip_prefix("h.")?.split_once('.')?;
            layer.parse().ok()
        };
        let last = self.tensors.keys().filter_map(|name| layer(name)).max()?;
        Some(Shown {
            n_embd: *self.tensors.get("wte.weight")?.shape.get(1)?,
            n_layer: last.checked_add(1)?,
        })
    }

    /// Whether matrices are stored `[in, out]`, as in Hugging Face's checkpoints of GPT-2: `c_attn`,
    /// which never is square, tells.
    fn is_transposed(&self, config: &Config) -> bool {
        let mut tensors = layout::tensors(config);
        let c_attn = tensors.find(|spec| spec.id.tensor == Tensor::CAttnWeight);
        c_attn.is_some_and(|spec| {
            let stored = self.tensors.get(&spec.id.to_string());
            stored.is_some_and(|stored| stored.shape == [spec.cols, spec.rows])
        })
    }
}

impl Stored {
    /// Overwrites `values`, those of `spec`, with as much of this as fits.
    fn lay(&self, spec: &TensorSpec, transposed: bool, values: &mut [f32]) -> Fate {
        let outside = matches!(spec.id.tensor, Tensor::Wte | Tensor::Wpe | Tensor::LmHead);
        if transposed && spec.role == Role::Matrix && !outside {
            if self.shape != [spec.cols, spec.rows] {
                return Fate::Shape;
            }
            for (i, value) in values.iter_mut().enumerate() {
                *value = self.values[i % spec.cols * spec.rows + i / spec.cols];
            }
            return Fate::Transposed;
        }
        if self.shape == shape(spec) {
            values.copy_from_slice(&self.values);
            return Fate::Loaded;
        }
        // Positions that both know.
        match self.shape[..] {
            [rows, cols] if spec.id.tensor == Tensor::Wpe && cols == spec.cols => {
                let rows = rows.min(spec.rows);
                values[..rows * cols].copy_from_slice(&self.values[..rows * cols]);
                Fate::Rows(rows)
            }
            _ => Fate::Shape,
        }
    }
}

impl Row {
    /// Whether something of the other model is in it.
    #[must_use]
    pub const fn is_loaded(&self) -> bool {
        matches!(self.fate, Fate::Loaded | Fate::Transposed | Fate::Rows(_))
    }
}

impl Fitted {
    /// Tensors of this model, and those of them that hold something of the other.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let Self(rows) = self;
        let here = rows.iter().filter(|row| row.here.is_some());
        (
            here.count(),
            rows.iter().filter(|row| row.is_loaded()).count(),
        )
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loaded => f.write_str("loaded"),
            Self::Transposed => f.write_str("loaded, transposed"),
            Self::Rows(rows) => write!(f, "the first {rows} rows loaded, the rest fresh"),
            Self::Absent => f.write_str("fresh: there is none"),
            Self::Shape => f.write_str("fresh: another shape"),
            Self::Tokens => f.write_str("fresh: tokens of another tokenizer"),
            Self::Unknown => f.write_str("left out: this model has none"),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = |shape: &Option<Vec<usize>>| match shape {
            Some(shape) => format!("{shape:?}"),
            None => "-".to_owned(),
        };
        let (there, here) = (shape(&self.there), shape(&self.here));
        let Self { name, fate, .. } = self;
        write!(f, "{name:<26} there {there:<14} here {here:<14} {fate}")
    }
}

impl fmt::Display for Fitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(rows) = self;
        rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}
