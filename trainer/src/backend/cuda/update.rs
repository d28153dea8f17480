//! Norm of the gradients and the optimiser step: all tensors in one launch.

use minigpt_runtime::Format;
use minigpt_runtime::config::Config;

use super::buffer::{Buffer, Scalar};
use super::driver::{Address, Memory};
use super::kernels::Kernel;
use super::loss;
use super::muon;
use super::queue::Arguments;
use super::work::{THREADS, Work};
use crate::backend::{BackendError, Dropout, Optimized, cpu};
use crate::optimizer::{Optimizer, Rule};

/// Values that a block updates.
const PIECE: usize = 1 << 13;

/// Tables of pieces of tensors on the device, for the norm and for the update.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    norm: Option<Table>,
    update: Option<Table>,
}

impl Pieces {
    pub(super) fn bytes(&self) -> u64 {
        let tables = self.norm.iter().chain(&self.update);
        tables.map(|table| table.memory.bytes() as u64).sum()
    }
}

/// A table of pieces.
#[derive(Debug)]
struct Table {
    memory: Memory,
    bytes: Vec<u8>,
    /// Pieces in it.
    count: usize,
}

/// A tensor's parameters, gradients, moments in `f32`, and parameters in `bf16`; with its length and
/// whether it decays.
struct Tensor {
    addresses: [Address; 5],
    len: usize,
    decays: bool,
}

/// The table of the pieces of `tensors`, which the device gets if it is not `known`.
fn table(
    work: &mut Work,
    known: Option<Table>,
    tensors: impl Iterator<Item = Tensor>,
) -> Result<Table, BackendError> {
    let (mut bytes, mut count) = (Vec::new(), 0);
    for tensor in tensors {
        for first in (0..tensor.len).step_by(PIECE) {
            let [exact @ .., rounded] = tensor.addresses;
            let at = |address: Address, size: usize| match address {
                0 => 0,
                address => address + (first * size) as Address,
            };
            for address in exact {
                bytes.extend(at(address, size_of::<f32>()).to_ne_bytes());
            }
            bytes.extend(at(rounded, size_of::<u16>()).to_ne_bytes());
            let len = PIECE.min(tensor.len - first) as i32;
            bytes.extend(len.to_ne_bytes());
            bytes.extend(i32::from(tensor.decays).to_ne_bytes());
            count += 1;
        }
    }
    match known {
        Some(known) if known.bytes == bytes => Ok(known),
        _ => {
            let memory = work.memory(bytes.len())?;
            work.upload(memory.address(), &bytes)?;
            Ok(Table {
                memory,
                bytes,
                count,
            })
        }
    }
}

/// [`crate::backend::Backend::gradient_norm`].
pub(super) fn norm(work: &mut Work, gradients: &[Buffer]) -> Result<Scalar, BackendError> {
    let tensors = gradients.iter().map(|gradient| Tensor {
        addresses: [0, gradient.exact(), 0, 0, 0],
        len: gradient.len(),
        decays: false,
    });
    let known = work.pieces.norm.take();
    let table = table(work, known, tensors)?;
    let (pieces, count) = (table.memory.address(), table.count);
    work.pieces.norm = Some(table);
    let [squares] = work.scratch([count * size_of::<f64>()])?;
    let arguments = Arguments::new().address(squares).address(pieces);
    work.launch(Kernel::Squares, [count, 1, 1], THREADS, arguments);
    loss::total(work, [0, squares], count)
}

/// [`crate::backend::Backend::update`].
pub(super) fn update(
    work: &mut Work,
    state: Optimized<'_, Buffer>,
    optimizer: &Optimizer,
    norm: Option<&Scalar>,
    step: u64,
) -> Result<(), BackendError> {
    let Optimized {
        params,
        gradients,
        first,
        second,
        rules,
    } = state;
    let known = work.pieces.update.take();
    let all = params.iter().zip(&*gradients);
    let all: Vec<_> = all.zip(first.iter().zip(&*second)).collect();
    let tensors = all.iter().zip(rules).filter_map(|(tensor, rule)| {
        let ((param, gradient), (first, second)) = tensor;
        let Rule::AdamW { decays } = rule else {
            return None;
        };
        let [param_at, gradient, first, second] =
            [param, gradient, first, second].map(|buffer| buffer.exact());
        Some(Tensor {
            addresses: [param_at, gradient, first, second, param.rounded()],
            len: param.len(),
            decays: *decays,
        })
    });
    let table = table(work, known, tensors)?;
    let (pieces, count) = (table.memory.address(), table.count);
    work.pieces.update = Some(table);
    let room = muon::Room::new(work, rules)?;
    // After everything that takes memory, which would send the values before they are used.
    let step = Step::new(work, optimizer, norm, step)?;
    let arguments = step.clip(Arguments::new().address(pieces));
    let arguments = arguments
        .address(step.adamw_rates)
        .float(optimizer.adamw.beta1)
        .float(optimizer.adamw.beta2)
        .float(optimizer.adamw.eps);
    work.launch(Kernel::Adamw, [count, 1, 1], THREADS, arguments);
    for (((param, gradient), (momentum, _)), rule) in all.into_iter().zip(rules) {
        if let Rule::Muon { rows, cols } = rule {
            let mut begin = 0;
            for &rows in rows {
                let tensors = [param, gradient, momentum];
                muon::update(
                    work,
                    tensors,
                    begin,
                    [rows, *cols],
                    &step,
                    &optimizer.muon,
                    &room,
                )?;
                begin += rows * cols;
            }
        }
    }
    Ok(())
}

/// What the kernels of a step need to know, on the device.
pub(super) struct Step {
    scalars: Address,
    /// Place of the norm, or 0.
    norm: Address,
    max_norm: f32,
    adamw_rates: Address,
    pub(super) muon_rates: Address,
}

impl Step {
    fn new(
        work: &mut Work,
        optimizer: &Optimizer,
        norm: Option<&Scalar>,
        step: u64,
    ) -> Result<Self, BackendError> {
        let Optimizer { adamw, muon } = optimizer;
        let (correct_first, correct_second) = adamw.bias_corrections(step);
        let rates = [
            adamw.learning_rate * correct_first,
            1.0 - adamw.learning_rate * adamw.weight_decay,
            correct_second,
            muon.learning_rate,
            1.0 - muon.learning_rate * muon.weight_decay,
        ];
        let [a, b, c, d, e] = rates.map(|rate| u64::from(rate.to_bits()));
        let place = norm.map_or(0, |norm| norm.place() as u64);
        let values = work.values(&[place, a, b, c, d, e])?;
        let behind = |n: usize| values + (n * size_of::<u64>()) as Address;
        Ok(Self {
            scalars: work.scalars()[0],
            norm: if norm.is_some() { values } else { 0 },
            max_norm: adamw.max_norm,
            adamw_rates: behind(1),
            muon_rates: behind(4),
        })
    }

    /// The member `Clip` of a kernel's parameter.
    pub(super) fn clip(&self, arguments: Arguments) -> Arguments {
        let arguments = arguments.address(self.scalars).address(self.norm);
        // `Clip` ends at a multiple of an address.
        arguments.float(self.max_norm).int(0)
    }
}

/// [`crate::backend::Backend::average`].
pub(super) fn average(
    work: &mut Work,
    average: &mut [Buffer],
    params: &[Buffer],
    decay: f32,
) -> Result<(), BackendError> {
    let decay = work.values(&[decay.to_bits().into()])?;
    for (average, params) in average.iter().zip(params) {
        let arguments = Arguments::new()
            .address(average.exact())
            .address(average.rounded())
            .address(params.exact())
            .address(decay)
            .long(params.len());
        work.launch_each(Kernel::Average, params.len(), arguments);
    }
    Ok(())
}

/// [`crate::backend::Backend::round`], by the host, whose encoder is the one of model files: the parameters
/// travel there and back.
pub(super) fn round(
    work: &mut Work,
    out: &mut [Buffer],
    params: &[Buffer],
    config: &Config,
    format: Format,
) -> Result<(), BackendError> {
    let values = params.iter().map(|buffer| work.read(buffer));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    let mut rounded = values.clone();
    cpu::round::round(&mut rounded, &values, config, format);
    for (buffer, values) in out.iter().zip(rounded) {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_ne_bytes()).collect();
        work.upload(buffer.exact(), &bytes)?;
    }
    // Behind all of it, so that these launches are sent with those of the pass.
    for buffer in out.iter().filter(|buffer| buffer.len() > 0) {
        let (to, from) = (buffer.rounded(), buffer.exact());
        work.round(to, from, buffer.len(), Dropout::OFF)?;
    }
    Ok(())
}
