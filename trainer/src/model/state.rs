//! What training changes and a checkpoint keeps: update, average, and all of it to and from the host.

use core::mem;

use super::Gpt;
use crate::backend::{Ahead, Backend, BackendError, Kind, Optimized};
use crate::optimizer::Optimizer;
use crate::params::Params;

#[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
impl<B: Backend> Gpt<B> {
    /// Clips the gradients, takes an optimiser step and clears the gradients. Returns their norm
    /// before clipping, for [`Self::norm`]; if it is not finite, parameters and moments stay as they
    /// are.
    ///
    /// `step` counts from 1.
    ///
    /// # Panics
    /// If `step` is 0.
    pub fn update(
        &mut self,
        optimizer: impl Into<Optimizer>,
        step: u64,
    ) -> Result<B::Scalar, BackendError> {
        let norm = self.gradient_norm()?;
        self.descend(optimizer, Some(&norm), step)?;
        Ok(norm)
    }

    /// Norm of the gradients accumulated so far, for [`Self::norm`].
    pub fn gradient_norm(&mut self) -> Result<B::Scalar, BackendError> {
        self.backend.gradient_norm(self.gradients.all())
    }

    /// [`Self::update`] on gradients of norm `norm`; without it they are cleared and not learned from.
    ///
    /// # Panics
    /// If `step` is 0.
    pub fn descend(
        &mut self,
        optimizer: impl Into<Optimizer>,
        norm: Option<&B::Scalar>,
        step: u64,
    ) -> Result<(), BackendError> {
        assert!(step > 0, "steps count from 1");
        self.rounded.expire();
        let state = Optimized {
            params: self.params.all_mut(),
            gradients: self.gradients.all_mut(),
            first: self.first.all_mut(),
            second: self.second.all_mut(),
            rules: &self.rules,
        };
        self.backend.update(state, &optimizer.into(), norm, step)
    }

    /// Takes the parameters into their moving average, of which `decay` stays. The first call makes
    /// it, from them alone.
    pub fn average(&mut self, decay: f32) -> Result<(), BackendError> {
        match &mut self.average {
            Some(average) => {
                let params = self.params.all();
                self.backend.average(average.all_mut(), params, decay)
            }
            None => {
                let mut average =
                    Params::zeros(&mut self.backend, &self.shape.config, Kind::Parameter)?;
                let params = self.params.all();
                self.backend.average(average.all_mut(), params, 0.0)?;
                self.average = Some(average);
                Ok(())
            }
        }
    }

    /// Has the average, if there is one, and the parameters change places.
    pub const fn swap_average(&mut self) {
        if let Some(average) = &mut self.average {
            mem::swap(average, &mut self.params);
            self.rounded.expire();
        }
    }

    /// The norm that [`Self::update`] or [`Self::gradient_norm`] returned, as soon as the device has it.
    pub fn norm(&self, norm: &B::Scalar) -> Result<f32, BackendError> {
        Ok(self.backend.read_scalar(norm)? as f32)
    }

    /// How far training runs ahead of the device.
    pub fn ahead(&self) -> Ahead {
        self.backend.ahead()
    }

    /// Parameters, one array per tensor of [`minigpt_runtime::layout::tensors`].
    pub fn read_parameters(&self) -> Result<Vec<Vec<f32>>, BackendError> {
        self.read(&self.params)
    }

    /// Overwrites the parameters.
    ///
    /// # Panics
    /// If a count or a length differs from the layout's.
    pub fn write_parameters(&mut self, values: &[Vec<f32>]) -> Result<(), BackendError> {
        self.rounded.expire();
        write(&mut self.backend, &mut self.params, values)
    }

    /// Gradients accumulated since the last update.
    pub fn read_gradients(&self) -> Result<Vec<Vec<f32>>, BackendError> {
        self.read(&self.gradients)
    }

    /// First and second moments; of a matrix that Muon updates the momentum, and nothing.
    #[allow(clippy::type_complexity, reason = "two lists of arrays")]
    pub fn read_moments(&self) -> Result<(Vec<Vec<f32>>, Vec<Vec<f32>>), BackendError> {
        Ok((self.read(&self.first)?, self.read(&self.second)?))
    }

    /// Overwrites the moments.
    ///
    /// # Panics
    /// If a count or a length differs from the layout's.
    pub fn write_moments(
        &mut self,
        first: &[Vec<f32>],
        second: &[Vec<f32>],
    ) -> Result<(), BackendError> {
        write(&mut self.backend, &mut self.first, first)?;
        write(&mut self.backend, &mut self.second, second)
    }

    /// The moving average of the parameters, where it is kept.
    pub fn read_average(&self) -> Result<Option<Vec<Vec<f32>>>, BackendError> {
        let average = self.average.as_ref();
        average.map(|average| self.read(average)).transpose()
    }

    /// Overwrites the moving average; it is kept from then on.
    ///
    /// # Panics
    /// If a count or a length differs from the layout's.
    pub fn write_average(&mut self, values: &[Vec<f32>]) -> Result<(), BackendError> {
        let mut average = Params::zeros(&mut self.backend, &self.shape.config, Kind::Parameter)?;
        write(&mut self.backend, &mut average, values)?;
        self.average = Some(average);
        Ok(())
    }

    /// Bytes this model keeps: parameters, gradients, moments, activations, scratch.
    pub fn bytes(&self) -> u64 {
        self.backend.bytes()
    }

    fn read(&self, params: &Params<B::Buffer>) -> Result<Vec<Vec<f32>>, BackendError> {
        let read = |buffer| self.backend.read(buffer);
        params.all().iter().map(read).collect()
    }
}

fn write<B: Backend>(
    backend: &mut B,
    params: &mut Params<B::Buffer>,
    values: &[Vec<f32>],
) -> Result<(), BackendError> {
    assert_eq!(values.len(), params.all().len(), "tensors of the model");
    let mut pairs = params.all_mut().iter_mut().zip(values);
    pairs.try_for_each(|(buffer, values)| backend.write(buffer, values))
}
