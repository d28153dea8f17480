//! What training changes and a checkpoint keeps: update, average, and all of it to and from the host.

use core::mem;
use std::borrow::Cow;

use super::Gpt;
use crate::backend::{Ahead, Backend, BackendError, Kind, Optimized};
use crate::optimizer::Optimizer;
use crate::params::Params;

/// What training keeps an array of for each tensor of [`minigpt_runtime::layout::tensors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a checkpoint must hold them all")]
pub enum Part {
    /// The parameters.
    Parameters,
    /// Their first moments; of a matrix that Muon updates the momentum.
    FirstMoments,
    /// Their second moments; of a matrix that Muon updates nothing.
    SecondMoments,
    /// The moving average of the parameters, where it is kept.
    Average,
}

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
        assert_eq!(values.len(), self.params.all().len(), "tensors");
        let mut arrays = values.iter().enumerate();
        arrays.try_for_each(|(index, values)| self.write_array(Part::Parameters, index, values))
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

    /// The moving average of the parameters, where it is kept.
    pub fn read_average(&self) -> Result<Option<Vec<Vec<f32>>>, BackendError> {
        let average = self.average.as_ref();
        average.map(|average| self.read(average)).transpose()
    }

    /// Whether a moving average of the parameters is kept.
    pub const fn has_average(&self) -> bool {
        self.average.is_some()
    }

    /// The array `part` of tensor number `index`.
    ///
    /// # Panics
    /// If there is no such tensor, or if it is of an average that is not kept.
    pub fn read_array(&self, part: Part, index: usize) -> Result<Cow<'_, [f32]>, BackendError> {
        let params = match part {
            Part::Parameters => &self.params,
            Part::FirstMoments => &self.first,
            Part::SecondMoments => &self.second,
            Part::Average => self.average.as_ref().expect("an average is kept"),
        };
        self.backend.read(&params.all()[index])
    }

    /// Overwrites the array `part` of tensor number `index`; an average is kept from then on.
    ///
    /// # Panics
    /// If there is no such tensor, or if it has another length.
    pub fn write_array(
        &mut self,
        part: Part,
        index: usize,
        values: &[f32],
    ) -> Result<(), BackendError> {
        let (backend, config) = (&mut self.backend, &self.shape.config);
        let params = match part {
            Part::Parameters => {
                self.rounded.expire();
                &mut self.params
            }
            Part::FirstMoments => &mut self.first,
            Part::SecondMoments => &mut self.second,
            Part::Average => match &mut self.average {
                Some(average) => average,
                none => none.insert(Params::zeros(backend, config, Kind::Parameter)?),
            },
        };
        backend.write(&mut params.all_mut()[index], values)
    }

    /// Bytes this model keeps: parameters, gradients, moments, activations, scratch.
    pub fn bytes(&self) -> u64 {
        self.backend.bytes()
    }

    fn read(&self, params: &Params<B::Buffer>) -> Result<Vec<Vec<f32>>, BackendError> {
        let read = |buffer| self.backend.read(buffer).map(Cow::into_owned);
        params.all().iter().map(read).collect()
    }
}
