//! The steps of the backend, each in a module of its own.

use std::borrow::Cow;

use minigpt_runtime::Format;
use minigpt_runtime::config::Config;

use super::{Buffer, Corpus, Cuda, Ids, Scalar, attention, corpus, embedding, loss, mlp, update};
use crate::backend::{
    Ahead, AttentionSaved, Backend, BackendError, Branch, Dropout, Head, Kind, Memory, MlpSaved,
    Optimized, Shape,
};
use crate::data::token_file::TokenFile;
use crate::data::windows::Draw;
use crate::optimizer::Optimizer;

impl Memory for Cuda {
    type Buffer = Buffer;
    type Ids = Ids;
    type Corpus = Corpus;
    type Scalar = Scalar;

    fn buffer(&mut self, len: usize, kind: Kind) -> Result<Buffer, BackendError> {
        self.work.get_mut().buffer(len, kind)
    }

    fn ids(&mut self, len: usize) -> Result<Ids, BackendError> {
        self.work.get_mut().ids(len)
    }

    fn write_ids(&mut self, ids: &mut Ids, values: &[u32]) -> Result<(), BackendError> {
        self.work.get_mut().write_ids(ids, values)
    }

    fn corpus(&mut self, file: &TokenFile) -> Result<Corpus, BackendError> {
        corpus::corpus(self.work.get_mut(), file)
    }

    fn draw(
        &mut self,
        tokens: &mut Ids,
        targets: &mut Ids,
        corpus: &Corpus,
        draw: &Draw,
        shape: &Shape,
    ) -> Result<(), BackendError> {
        corpus::draw(self.work.get_mut(), tokens, targets, corpus, draw, shape)
    }

    fn write(&mut self, buffer: &mut Buffer, values: &[f32]) -> Result<(), BackendError> {
        self.work.get_mut().write(buffer, values)
    }

    fn read<'a>(&self, buffer: &'a Buffer) -> Result<Cow<'a, [f32]>, BackendError> {
        self.work.borrow_mut().read(buffer).map(Cow::Owned)
    }

    fn read_scalar(&self, scalar: &Scalar) -> Result<f64, BackendError> {
        self.work.borrow_mut().read_scalar(scalar)
    }

    fn bytes(&self) -> u64 {
        self.work.borrow().bytes()
    }
}

impl Backend for Cuda {
    fn ahead(&self) -> Ahead {
        self.ahead
    }

    fn embed_forward(
        &mut self,
        out: &mut Buffer,
        ids: &Ids,
        wte: &Buffer,
        positions: Option<&Buffer>,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError> {
        embedding::forward(
            self.work.get_mut(),
            out,
            ids,
            wte,
            positions,
            shape,
            dropout,
        )
    }

    fn embed_backward(
        &mut self,
        d_wte: &mut Buffer,
        d_wpe: Option<&mut Buffer>,
        d_out: &mut Buffer,
        ids: &Ids,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError> {
        embedding::backward(
            self.work.get_mut(),
            d_wte,
            d_wpe,
            d_out,
            ids,
            shape,
            dropout,
        )
    }

    fn attention_forward(
        &mut self,
        out: &mut Buffer,
        saved: &mut AttentionSaved<Buffer>,
        x: &Buffer,
        weights: Branch<&Buffer>,
        rotation: Option<&Buffer>,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError> {
        let work = self.work.get_mut();
        attention::forward(work, out, saved, x, weights, rotation, shape, dropout)
    }

    fn attention_backward(
        &mut self,
        d_x: &mut Buffer,
        d_weights: Branch<&mut Buffer>,
        d_out: &Buffer,
        saved: &AttentionSaved<Buffer>,
        x: &Buffer,
        weights: Branch<&Buffer>,
        rotation: Option<&Buffer>,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError> {
        let work = self.work.get_mut();
        attention::backward(
            work, d_x, d_weights, d_out, saved, x, weights, rotation, shape, dropout,
        )
    }

    fn mlp_forward(
        &mut self,
        out: &mut Buffer,
        saved: &mut MlpSaved<Buffer>,
        x: &Buffer,
        weights: Branch<&Buffer>,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError> {
        mlp::forward(self.work.get_mut(), out, saved, x, weights, shape, dropout)
    }

    fn mlp_backward(
        &mut self,
        d_x: &mut Buffer,
        d_weights: Branch<&mut Buffer>,
        d_out: &Buffer,
        saved: &MlpSaved<Buffer>,
        x: &Buffer,
        weights: Branch<&Buffer>,
        shape: &Shape,
        dropout: Dropout,
    ) -> Result<(), BackendError> {
        let work = self.work.get_mut();
        mlp::backward(
            work, d_x, d_weights, d_out, saved, x, weights, shape, dropout,
        )
    }

    fn logits(
        &mut self,
        x: &Buffer,
        head: Head<&Buffer>,
        shape: &Shape,
    ) -> Result<Vec<f32>, BackendError> {
        loss::logits(self.work.get_mut(), x, head, shape)
    }

    fn loss(
        &mut self,
        x: &Buffer,
        head: Head<&Buffer>,
        targets: &Ids,
        shape: &Shape,
    ) -> Result<Scalar, BackendError> {
        loss::forward(self.work.get_mut(), x, head, targets, shape)
    }

    fn loss_backward(
        &mut self,
        d_x: &mut Buffer,
        d_head: Head<&mut Buffer>,
        x: &Buffer,
        head: Head<&Buffer>,
        targets: &Ids,
        scale: f32,
        shape: &Shape,
    ) -> Result<Scalar, BackendError> {
        loss::backward(
            self.work.get_mut(),
            d_x,
            d_head,
            x,
            head,
            targets,
            scale,
            shape,
        )
    }

    fn gradient_norm(&mut self, gradients: &[Buffer]) -> Result<Scalar, BackendError> {
        update::norm(self.work.get_mut(), gradients)
    }

    fn update(
        &mut self,
        state: Optimized<'_, Buffer>,
        optimizer: &Optimizer,
        norm: Option<&Scalar>,
        step: u64,
    ) -> Result<(), BackendError> {
        update::update(self.work.get_mut(), state, optimizer, norm, step)
    }

    fn average(
        &mut self,
        average: &mut [Buffer],
        params: &[Buffer],
        decay: f32,
    ) -> Result<(), BackendError> {
        update::average(self.work.get_mut(), average, params, decay)
    }

    fn round(
        &mut self,
        out: &mut [Buffer],
        params: &[Buffer],
        config: &Config,
        format: Format,
    ) -> Result<(), BackendError> {
        update::round(self.work.get_mut(), out, params, config, format)
    }
}
