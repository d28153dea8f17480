//! What each number of a run may be.

use super::{RunConfig, RunConfigError};
use crate::stories::SHORTEST_LIMIT;

/// Far beyond any machine this runs on, and few enough for every system to start.
const MOST_THREADS: u32 = 1024;
/// Stories that still fit in memory beside their tokens on a large machine.
const MOST_STORIES: u64 = 1 << 32;
/// TOML has no larger whole numbers.
const LARGEST: u64 = i64::MAX as u64;

type Checked = Result<(), RunConfigError>;

impl RunConfig {
    /// Checks every number of `[data]`, `[training]` and `[run]`, as the type it is used in.
    pub(super) fn check(&self) -> Checked {
        self.check_counts()?;
        self.check_rates()?;
        self.check_shares()
    }

    fn check_counts(&self) -> Checked {
        let (data, training, run) = (&self.data, &self.training, &self.run);
        let counts = [
            ("steps", training.steps, 1),
            ("batch", training.batch.into(), 1),
            ("accumulation", training.accumulation.into(), 1),
            ("warmup_steps", training.warmup_steps.unwrap_or(0), 0),
            ("decay_steps", training.decay_steps.unwrap_or(0), 0),
            ("eval_interval", training.eval_interval, 1),
            ("log_interval", run.log_interval, 1),
            ("checkpoint_interval", run.checkpoint_interval, 1),
            ("sample_interval", run.sample_interval, 0),
            ("keep_checkpoints", run.keep_checkpoints.into(), 1),
            ("stories_bytes", data.stories_bytes, 1),
            ("seed", training.seed, 0),
            ("stories_seed", data.stories_seed, 0),
        ];
        for (field, value, least) in counts {
            range(field, value as f64, value >= least, "at least 1")?;
            range(field, value as f64, value <= LARGEST, "at most 2^63 - 1")?;
        }
        let (threads, stories) = (run.threads, data.stories_bytes);
        let fits = threads <= MOST_THREADS;
        range("threads", threads.into(), fits, "at most 1024")?;
        let fits = stories <= MOST_STORIES;
        range("stories_bytes", stories as f64, fits, "at most 4294967296")?;
        let longest = data.stories_longest;
        let fits = longest == 0 || (SHORTEST_LIMIT..=LARGEST).contains(&longest);
        range(
            "stories_longest",
            longest as f64,
            fits,
            "0, or at least 480",
        )
    }

    fn check_rates(&self) -> Checked {
        let training = &self.training;
        let muon = training.muon_learning_rate;
        for (field, value) in [
            ("learning_rate", training.learning_rate),
            ("muon_learning_rate", muon.unwrap_or(training.learning_rate)),
            ("eps", training.eps),
        ] {
            let single = value as f32;
            let fits = single > 0.0 && single.is_finite();
            range(field, value, fits, "finite and above 0, in 32 bits")?;
        }
        let least = training.min_learning_rate.unwrap_or(0.0);
        let not_negative = [
            ("min_learning_rate", least),
            ("weight_decay", training.weight_decay),
            ("grad_clip", training.grad_clip),
            ("skip_z", training.skip_z),
            ("max_seconds", self.run.max_seconds),
        ];
        for (field, value) in not_negative {
            let fits = value >= 0.0 && (value as f32).is_finite();
            range(field, value, fits, "finite and at least 0")?;
        }
        let fits = least <= training.learning_rate;
        range("min_learning_rate", least, fits, "at most learning_rate")?;
        let clip = training.grad_clip;
        let fits = clip == 0.0 || clip as f32 > 0.0;
        range("grad_clip", clip, fits, "0, or above 0 in 32 bits")?;
        let z = training.skip_z;
        range("skip_z", z, z == 0.0 || z >= 1.0, "0, or at least 1")
    }

    fn check_shares(&self) -> Checked {
        let training = &self.training;
        let below_1 = [
            ("beta1", training.beta1),
            ("beta2", training.beta2),
            ("muon_momentum", training.muon_momentum),
            ("ema_decay", training.ema_decay),
            ("dropout", training.dropout),
            ("val_fraction", self.data.val_fraction),
        ];
        for (field, value) in below_1 {
            let fits = value >= 0.0 && (value as f32) < 1.0;
            range(field, value, fits, "at least 0 and below 1, in 32 bits")?;
        }
        let last = training.quantize_fraction;
        let fits = last > 0.0 && last <= 1.0;
        range("quantize_fraction", last, fits, "above 0 and at most 1")
    }
}

fn range(field: &'static str, value: f64, fits: bool, range: &'static str) -> Checked {
    if fits {
        Ok(())
    } else {
        Err(RunConfigError::Range {
            field,
            value,
            range,
        })
    }
}
