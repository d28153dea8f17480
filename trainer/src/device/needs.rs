//! How much memory training takes on a device, and whether activations are made again for it.

use minigpt_runtime::config::Config;

use super::DeviceError;
use crate::backend::cuda::{Demands, Found};
use crate::run_config::{Recompute, RunConfig};

/// Bytes of a device's memory that training takes at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needs {
    /// With all activations.
    pub kept: u64,
    /// With those that backward does not make again.
    pub recomputed: u64,
}

/// Bytes that are needed; and the same under another setting, and which.
type Figures = (u64, (&'static str, u64));

impl Needs {
    /// Of a run of `settings` on the GPU `found`, were its batches of `n_batch` windows.
    fn of_gpu(found: &Found, settings: &RunConfig, config: &Config, n_batch: usize) -> Self {
        let bytes = |recompute| {
            let demands = Demands {
                method: settings.training.optimizer,
                averaged: settings.training.ema_decay > 0.0,
                recompute,
                rounded: settings.training.quantize_aware.format().is_some(),
                cublaslt: settings.training.cublaslt,
            };
            found.needed(config, n_batch, demands)
        };
        Self {
            kept: bytes(false),
            recomputed: bytes(true),
        }
    }

    /// What is needed where activations are made again, or are not, and what in the other case, and which
    /// that is.
    #[must_use]
    pub const fn figures(self, recompute: bool) -> (u64, (&'static str, u64)) {
        match recompute {
            false => (self.kept, ("with recompute=on", self.recomputed)),
            true => (self.recomputed, ("with recompute=off", self.kept)),
        }
    }

    /// Whether backward makes activations again: as `asked`, and where that is left open, if there is not
    /// enough memory otherwise. `fits` says whether there are so many bytes.
    ///
    /// # Errors
    /// The figures of what was asked for, or of the lesser, where that does not fit.
    pub(crate) fn recompute(
        self,
        asked: Recompute,
        fits: &dyn Fn(u64) -> bool,
    ) -> Result<bool, Figures> {
        let recompute = match asked {
            Recompute::Auto => !fits(self.kept),
            Recompute::On => true,
            Recompute::Off => false,
        };
        let figures = self.figures(recompute);
        if fits(figures.0) {
            Ok(recompute)
        } else {
            Err(figures)
        }
    }
}

/// What a run of `settings` needs of the GPU `found`, and whether it makes activations again in backward to fit
/// into `free` bytes.
///
/// # Errors
/// [`DeviceError::Memory`] if it does not.
pub(crate) fn of_gpu(
    found: &Found,
    free: u64,
    settings: &RunConfig,
    config: &Config,
) -> Result<(Needs, bool), DeviceError> {
    let decide = |n_batch| {
        let needs = Needs::of_gpu(found, settings, config, n_batch);
        let recompute = needs.recompute(settings.run.recompute, &|bytes| bytes <= free)?;
        Ok((needs, recompute))
    };
    let n_batch = settings.training.batch as usize;
    decide(n_batch).map_err(|(needed, other): Figures| DeviceError::Memory {
        device: found.name.clone(),
        needed,
        other,
        free,
        batch: largest(n_batch, &|n_batch| decide(n_batch).is_ok()),
    })
}

/// The largest number below `over` that fits, 0 if none does: what fits does so for all that are smaller.
fn largest(mut over: usize, fits: &dyn Fn(usize) -> bool) -> usize {
    let mut fitting = 0;
    while over - fitting > 1 {
        let middle = fitting.midpoint(over);
        match fits(middle) {
            true => fitting = middle,
            false => over = middle,
        }
    }
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_are_made_again_where_memory_will_not_do_otherwise() {
        use Recompute::{Auto, Off, On};
        let needs = Needs {
            kept: 1000,
            recomputed: 300,
        };
        let with = |asked, bytes| needs.recompute(asked, &|needed| needed <= bytes);
        assert_eq!([with(Auto, 1000), with(Auto, 999)], [Ok(false), Ok(true)]);
        assert_eq!([with(On, 5000), with(Off, 1000)], [Ok(true), Ok(false)]);
        for asked in [Auto, On] {
            assert_eq!(with(asked, 299), Err((300, ("with recompute=off", 1000))));
        }
        assert_eq!(with(Off, 999), Err((1000, ("with recompute=on", 300))));
    }

    #[test]
    fn the_largest_batch_that_fits() {
        for (over, most) in [(1, 0), (2, 0), (2, 1), (100, 0), (100, 37), (100, 99)] {
            assert_eq!(largest(over, &|n| n <= most), most, "{over}");
        }
    }

    #[test]
    fn no_size_is_too_large_to_be_told() {
        let found = Found {
            number: 0,
            name: "a GPU".to_owned(),
            memory: 1 << 40,
            capability: (9, 0),
            processors: 132,
        };
        let mut settings = RunConfig::default();
        settings.model.n_embd = 1 << 20;
        settings.model.n_head = 1 << 16;
        settings.model.n_layer = 1 << 16;
        settings.model.n_ff = Some(1 << 20);
        settings.model.n_ctx = 1 << 24;
        settings.training.batch = u32::MAX;
        let config = Config::new(settings.model.hyperparameters(1 << 24)).unwrap();
        let error = of_gpu(&found, found.memory, &settings, &config).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("at least 18446744073709551615 are needed"),
            "{message}"
        );
        assert!(message.contains("not even --batch 1 fits"), "{message}");
    }
}
