//! What training changes and a checkpoint keeps: update, average, and all of it to and from the host.

use core::mem;

use super::Gpt;
use crate::backend::{Backend, Optimized};
use crate::optimizer::Optimizer;
use crate::params::Params;

impl<B: Backend> Gpt<B> {
    /// Clips the gradients, takes an optimiser step and clears the gradients. Returns their norm
    /// before clipping; if it is not finite, parameters and moments stay as they are.
    ///
    /// `step` counts from 1.
    ///
    /// # Panics
    /// If `step` is 0.
    pub fn update(&mut self, optimizer: impl Into<Optimizer>, step: u64) -> f32 {
        let norm = self.gradient_norm();
        match norm.is_finite() {
            true => self.descend(optimizer, norm, step),
            false => self.discard(),
        }
        norm
    }

    /// Norm of the gradients accumulated so far.
    pub fn gradient_norm(&mut self) -> f32 {
        self.backend.gradient_norm(self.gradients.all())
    }

    /// Clears the gradients; nothing is learned from them.
    pub fn discard(&mut self) {
        self.backend.clear(self.gradients.all_mut());
    }

    /// [`Self::update`] on gradients of a norm that is known and finite.
    ///
    /// # Panics
    /// If `step` is 0.
    pub fn descend(&mut self, optimizer: impl Into<Optimizer>, norm: f32, step: u64) {
        assert!(step > 0, "steps count from 1");
        let optimizer = optimizer.into();
        let state = Optimized {
            params: self.params.all_mut(),
            gradients: self.gradients.all_mut(),
            first: self.first.all_mut(),
            second: self.second.all_mut(),
            rules: &self.rules,
        };
        let clip = optimizer.adamw.clip_scale(norm);
        self.backend.update(state, &optimizer, clip, step);
    }

    /// Takes the parameters into their moving average, of which `decay` stays. The first call makes
    /// it, from them alone.
    pub fn average(&mut self, decay: f32) {
        match &mut self.average {
            Some(average) => {
                let params = self.params.all();
                self.backend.average(average.all_mut(), params, decay);
            }
            None => self.write_average(&self.read_parameters()),
        }
    }

    /// Has the average, if there is one, and the parameters change places.
    pub fn swap_average(&mut self) {
        if let Some(average) = &mut self.average {
            mem::swap(average, &mut self.params);
        }
    }

    /// Parameters, one array per tensor of [`layout::tensors`].
    pub fn read_parameters(&self) -> Vec<Vec<f32>> {
        self.read(&self.params)
    }

    /// Overwrites the parameters.
    ///
    /// # Panics
    /// If a count or a length differs from the layout's.
    pub fn write_parameters(&mut self, values: &[Vec<f32>]) {
        write(&mut self.backend, &mut self.params, values);
    }

    /// Gradients accumulated since the last update.
    pub fn read_gradients(&self) -> Vec<Vec<f32>> {
        self.read(&self.gradients)
    }

    /// First and second moments; of a matrix that Muon updates the momentum, and nothing.
    pub fn read_moments(&self) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
        (self.read(&self.first), self.read(&self.second))
    }

    /// Overwrites the moments.
    ///
    /// # Panics
    /// If a count or a length differs from the layout's.
    pub fn write_moments(&mut self, first: &[Vec<f32>], second: &[Vec<f32>]) {
        write(&mut self.backend, &mut self.first, first);
        write(&mut self.backend, &mut self.second, second);
    }

    /// The moving average of the parameters, where it is kept.
    pub fn read_average(&self) -> Option<Vec<Vec<f32>>> {
        self.average.as_ref().map(|average| self.read(average))
    }

    /// Overwrites the moving average; it is kept from then on.
    ///
    /// # Panics
    /// If a count or a length differs from the layout's.
    pub fn write_average(&mut self, values: &[Vec<f32>]) {
        let (backend, config) = (&mut self.backend, &self.shape.config);
        let average = self
            .average
            .get_or_insert_with(|| Params::zeros(backend, config));
        write(&mut self.backend, average, values);
    }

    /// Bytes this model keeps: parameters, gradients, moments, activations, scratch.
    pub fn bytes(&self) -> u64 {
        self.backend.bytes()
    }

    fn read(&self, params: &Params<B::Buffer>) -> Vec<Vec<f32>> {
        let read = |buffer| self.backend.read(buffer);
        params.all().iter().map(read).collect()
    }
}

fn write<B: Backend>(backend: &mut B, params: &mut Params<B::Buffer>, values: &[Vec<f32>]) {
    assert_eq!(values.len(), params.all().len(), "tensors of the model");
    for (buffer, values) in params.all_mut().iter_mut().zip(values) {
        backend.write(buffer, values);
    }
}
