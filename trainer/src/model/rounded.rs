//! Training with the weights that will be deployed: passes compute with what a model file makes of the
//! parameters, and what is learned are the parameters themselves.

use core::slice;

use minigpt_runtime::Format;
use minigpt_runtime::config::Config;
use minigpt_runtime::layout::{self, Role};

use super::Gpt;
use crate::backend::{Backend, BackendError, Kind};
use crate::params::Params;

/// Parameters as a file of some format holds them.
#[derive(Debug)]
pub(super) struct Rounded<T> {
    /// That format, where passes compute with them.
    format: Option<Format>,
    params: Option<Params<T>>,
    /// Whether the parameters have changed since.
    stale: bool,
}

impl<T> Default for Rounded<T> {
    fn default() -> Self {
        Self {
            format: None,
            params: None,
            stale: true,
        }
    }
}

impl<T> Rounded<T> {
    /// What passes compute with: these, or `params`.
    pub(super) fn or<'a>(&'a self, params: &'a Params<T>) -> &'a Params<T> {
        match (&self.format, &self.params) {
            (Some(_), Some(rounded)) => rounded,
            _ => params,
        }
    }

    /// The parameters have changed.
    pub(super) const fn expire(&mut self) {
        self.stale = true;
    }

    /// Makes them of `params` again if those have changed.
    pub(super) fn refresh<B: Backend<Buffer = T>>(
        &mut self,
        backend: &mut B,
        params: &Params<T>,
        config: &Config,
    ) -> Result<(), BackendError> {
        let Some(format) = self.format.filter(|_| self.stale) else {
            return Ok(());
        };
        let rounded = match &mut self.params {
            Some(rounded) => rounded,
            none => none.insert(Params::zeros(backend, config, Kind::Parameter)?),
        };
        backend.round(rounded.all_mut(), params.all(), config, format)?;
        self.stale = false;
        Ok(())
    }
}

#[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
impl<B: Backend> Gpt<B> {
    /// From now on, passes compute with the parameters as a model file of `format` holds them, and take the
    /// gradient at those for that at the parameters (straight through); without a format, with the
    /// parameters.
    ///
    /// # Source
    /// Jacob et al. 2018, "Quantization and training of neural networks", section 3; the gradient: Bengio et
    /// al. 2013, "Estimating or propagating gradients through stochastic neurons".
    pub fn round_to(&mut self, format: Option<Format>) {
        if self.rounded.format != format {
            self.rounded.format = format;
            self.rounded.expire();
        }
    }

    /// Moves each matrix by `share` of the way to what the last pass computed with instead; nothing where it
    /// computed with the parameters.
    ///
    /// A value between two steps of its format is else pushed from one to the other for ever, and the
    /// scale of its block with it.
    ///
    /// # Source
    /// Bai et al. 2019, "ProxQuant: quantized neural networks via proximal operators"; Nagel et al. 2022,
    /// "Overcoming oscillations in quantization-aware training".
    pub fn settle(&mut self, share: f32) -> Result<(), BackendError> {
        let (Some(_), Some(rounded)) = (self.rounded.format, &self.rounded.params) else {
            return Ok(());
        };
        let specs = layout::tensors(&self.shape.config);
        let tensors = specs.zip(self.params.all_mut().iter_mut().zip(rounded.all()));
        for (spec, (params, rounded)) in tensors {
            if spec.role == Role::Matrix {
                let (params, rounded) = (slice::from_mut(params), slice::from_ref(rounded));
                self.backend.average(params, rounded, 1.0 - share)?;
            }
        }
        self.rounded.expire();
        Ok(())
    }
}
