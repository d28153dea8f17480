//! How tokens are chosen: the options of the command line, and the sampler they make.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use minigpt_runtime::sampler::logits;
use minigpt_runtime::{Penalties, PenaltyOptions, Sampler, SamplerOptions, Tokenizer};
use minigpt_trainer::sample::OPTIONS;

use super::prompt::encode;
use crate::cmd::count;
use crate::failure::Failure;

/// Largest `--top-k`.
const MAX_TOP_K: usize = 1024;

/// `--temperature`, where it is not given.
const TEMPERATURE: f32 = 0.8;

/// The order of the options, for `--help`.
pub(crate) const ORDER: &str = "\
Each token is chosen in this order: --ban and --logit-bias; --repetition-penalty; --frequency-penalty and \
--presence-penalty; --temperature; --min-p; --top-k; --top-p; then a draw by the seed. With a temperature of 0 the \
likeliest token of what bans, biases and penalties leave is taken.";

/// How tokens are chosen.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SamplingArgs {
    /// 0 always takes the likeliest token; 1 draws as the model predicts; more is wilder [default: 0.8]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub(crate) temperature: Option<f32>,
    /// Draw only from the K likeliest tokens (up to 1024)
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub(crate) top_k: Option<i64>,
    /// Draw only from the fewest likeliest tokens whose probabilities sum to P, in (0, 1] [default: 1]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f32>,
    /// Draw only from tokens at least P times as likely as the likeliest, in [0, 1] [default: 0]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) min_p: Option<f32>,
    /// Make tokens that were said less likely: divides their logits by R, or multiplies negative ones
    #[arg(
        long,
        value_name = "R",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    repetition_penalty: f32,
    /// Subtract X from the logits of tokens that were said
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    presence_penalty: f32,
    /// Subtract X from the logits of tokens for each time that they were said
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    frequency_penalty: f32,
    /// Penalise the last N tokens, those of the prompt included
    #[arg(
        long,
        value_name = "N",
        default_value_t = 64,
        allow_negative_numbers = true
    )]
    penalty_window: i64,
    /// Add B to the logit of a token: its number, or its text, `=` and B; may be given several times
    #[arg(long, value_name = "TOKEN=B", allow_hyphen_values = true)]
    logit_bias: Vec<String>,
    /// Never choose a token: its number or its text; may be given several times
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true)]
    ban: Vec<String>,
    /// Same seed, same text; without it one is drawn and said
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub(crate) seed: Option<i128>,
}

impl SamplingArgs {
    /// How the story of a new model is told.
    pub(crate) fn story(seed: u64) -> Self {
        Self {
            temperature: Some(OPTIONS.temperature),
            top_p: Some(OPTIONS.top_p),
            repetition_penalty: 1.0,
            seed: Some(seed.into()),
            ..Self::default()
        }
    }

    /// The seed that was given or else one that nobody chose.
    pub(crate) fn seed(&self) -> Result<u64, Failure> {
        let Some(seed) = self.seed else {
            return Ok(drawn_seed());
        };
        checked_seed("--seed", seed)
    }

    /// Whether a seed decides the text.
    pub(crate) fn draws(&self) -> bool {
        self.temperature != Some(0.0)
    }

    /// What chooses as the options say, with `seed`.
    pub(crate) fn sampling(
        &self,
        tokenizer: &Tokenizer<'_>,
        seed: u64,
    ) -> Result<Sampling, Failure> {
        let top_k = self.top_k.map(|k| {
            usize::try_from(k).map_err(|_| {
                Failure::Misuse(format!(
                    "top-k is {k}; it must be between 1 and {MAX_TOP_K}"
                ))
            })
        });
        let options = SamplerOptions {
            temperature: self.temperature.unwrap_or(TEMPERATURE),
            top_k: top_k.transpose()?,
            top_p: self.top_p.unwrap_or(1.0),
            seed,
        };
        let min_p = self.min_p.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&min_p) {
            return Err(Failure::Misuse(format!(
                "min-p is {min_p}; it must be between 0 and 1"
            )));
        }
        let penalties = Penalties::new(PenaltyOptions {
            repetition: self.repetition_penalty,
            presence: self.presence_penalty,
            frequency: self.frequency_penalty,
            window: count("--penalty-window", self.penalty_window, 0)?,
        });
        Ok(Sampling {
            sampler: Sampler::new(options).map_err(Failure::misuse)?,
            options,
            min_p,
            penalties: penalties.map_err(Failure::misuse)?,
            biases: self.biases(tokenizer)?,
        })
    }

    fn biases(&self, tokenizer: &Tokenizer<'_>) -> Result<Vec<(u32, f32)>, Failure> {
        let mut biases = Vec::new();
        for bias in &self.logit_bias {
            let parts = bias.rsplit_once('=');
            let value = parts.and_then(|(token, value)| Some((token, value.parse().ok()?)));
            let value = value.filter(|(_, value): &(&str, f32)| !value.is_nan());
            let (name, value) = value.ok_or_else(|| {
                Failure::Misuse(format!(
                    "--logit-bias is {bias:?}; give a token, = and a number, such as 17=-2.5"
                ))
            })?;
            biases.push((token(tokenizer, "--logit-bias", name)?, value));
        }
        for name in &self.ban {
            biases.push((token(tokenizer, "--ban", name)?, f32::NEG_INFINITY));
        }
        let banned = |id: &u32| biases.contains(&(*id, f32::NEG_INFINITY));
        let n_vocab = tokenizer.n_vocab() as u32;
        if biases.len() >= tokenizer.n_vocab() && (0..n_vocab).all(|id| banned(&id)) {
            return Err(Failure::Misuse(
                "every token is banned; leave one that can be chosen".to_owned(),
            ));
        }
        Ok(biases)
    }
}

/// The token that `name` means to the option `flag`: its number, or its text.
fn token(tokenizer: &Tokenizer<'_>, flag: &str, name: &str) -> Result<u32, Failure> {
    let n_vocab = tokenizer.n_vocab();
    if let Ok(id) = name.parse::<u64>() {
        let known = u32::try_from(id).ok().filter(|id| (*id as usize) < n_vocab);
        return known.ok_or_else(|| {
            Failure::Misuse(format!(
                "{flag} names token {id}; this model's are 0 to {}",
                n_vocab - 1
            ))
        });
    }
    let spells = |id: &u32| {
        let mut buffer = [0; 4];
        let bytes = tokenizer.token_bytes(*id, &mut buffer);
        !name.is_empty() && bytes == Some(name.as_bytes())
    };
    (0..n_vocab as u32).find(spells).ok_or_else(|| {
        let parts = encode(tokenizer, name, flag).unwrap_or_default();
        let parts = parts.iter().map(u32::to_string).collect::<Vec<_>>();
        let instead = match parts.is_empty() {
            true => "give a token's number or text".to_owned(),
            false => format!("it is spelled by the tokens {}", parts.join(", ")),
        };
        Failure::Misuse(format!(
            "{flag} names {name:?}, which is no token of this model; {instead}"
        ))
    })
}

/// The seed that `what` was given.
pub(crate) fn checked_seed(what: &str, seed: i128) -> Result<u64, Failure> {
    u64::try_from(seed).map_err(|_| {
        Failure::Misuse(format!(
            "{what} is {seed}; it must be between 0 and {}",
            u64::MAX
        ))
    })
}

/// A seed that nobody chose.
pub(crate) fn drawn_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |time| u64::from(time.subsec_nanos()) ^ time.as_secs())
}

/// Chooses tokens.
#[derive(Clone, Debug)]
pub(crate) struct Sampling {
    sampler: Sampler<MAX_TOP_K>,
    options: SamplerOptions,
    min_p: f32,
    penalties: Penalties,
    biases: Vec<(u32, f32)>,
}

impl Sampling {
    /// The token behind `history`; `logits` `[V]` are used up. None of `barred` is chosen.
    pub(crate) fn choose(&mut self, logits: &mut [f32], history: &[u32], barred: &[u32]) -> u32 {
        self.adjust(logits, history, barred);
        logits::keep_min_p(logits, self.min_p, self.options.temperature);
        self.sampler.sample(logits)
    }

    /// What is done to logits before the temperature.
    pub(crate) fn adjust(&self, logits: &mut [f32], history: &[u32], barred: &[u32]) {
        logits::bias(logits, &self.biases);
        for &token in barred {
            logits::bias(logits, &[(token, f32::NEG_INFINITY)]);
        }
        self.penalties.apply(logits, history);
    }

    /// The same with other options, from the beginning of the seed's numbers.
    pub(crate) fn with(&self, temperature: f32, seed: u64) -> Result<Self, Failure> {
        let options = SamplerOptions {
            temperature,
            seed,
            ..self.options
        };
        Ok(Self {
            sampler: Sampler::new(options).map_err(Failure::misuse)?,
            options,
            ..self.clone()
        })
    }

    pub(crate) const fn temperature(&self) -> f32 {
        self.options.temperature
    }

    pub(crate) const fn seed(&self) -> u64 {
        self.options.seed
    }
}
