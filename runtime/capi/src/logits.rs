//! Logits: what may be done to them before a token is chosen.

use minigpt_runtime::sampler::logits;
use minigpt_runtime::{Penalties, PenaltyOptions as Options};

use crate::options::{self, PenaltyOptions};
use crate::pointers;
use crate::status::{Status, status};

impl PenaltyOptions {
    /// As the runtime takes them.
    fn checked(&self) -> Result<Penalties, Status> {
        let penalties = Penalties::new(Options {
            repetition: match self.repetition {
                0.0 => Options::NONE.repetition,
                given => given,
            },
            presence: self.presence,
            frequency: self.frequency,
            window: match self.window {
                0 => Options::NONE.window,
                given => given as usize,
            },
        });
        penalties.map_err(|_| Status::BadPenalty)
    }
}

/// Adds to the logits of single tokens.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_logits_bias(
    logits: *mut f32,
    n_logits: usize,
    tokens: *const u32,
    biases: *const f32,
    n_biases: usize,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let logits = unsafe { pointers::array_mut(logits, n_logits) }?;
        // SAFETY: the caller promises it.
        let tokens: &[u32] = unsafe { pointers::array(tokens, n_biases) }?;
        // SAFETY: the caller promises it.
        let biases: &[f32] = unsafe { pointers::array(biases, n_biases) }?;
        for (token, bias) in tokens.iter().zip(biases) {
            logits::bias(logits, &[(*token, *bias)]);
        }
        Ok(())
    })
}

/// Makes tokens that were said less likely.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_logits_penalize(
    logits: *mut f32,
    n_logits: usize,
    options: *const PenaltyOptions,
    history: *const u32,
    n_history: usize,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let logits = unsafe { pointers::array_mut(logits, n_logits) }?;
        // SAFETY: the caller promises it.
        let options = unsafe { options::read(options) }?;
        // SAFETY: the caller promises it.
        let history = unsafe { pointers::array(history, n_history) }?;
        options.checked()?.apply(logits, history);
        Ok(())
    })
}

/// Bans tokens that are much less likely than the likeliest.
///
/// # Safety
/// As the crate says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_logits_keep_min_p(
    logits: *mut f32,
    n_logits: usize,
    share: f32,
    temperature: f32,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let logits = unsafe { pointers::array_mut(logits, n_logits) }?;
        if !(0.0..=1.0).contains(&share) {
            return Err(Status::BadMinP);
        }
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(Status::BadTemperature);
        }
        logits::keep_min_p(logits, share, temperature);
        Ok(())
    })
}
