//! What lies on the device.

use core::cell::RefCell;
use std::rc::Rc;

use super::device::Device;
use super::driver::{Address, Memory, Pinned};
use crate::backend::{BackendError, Kind};

/// Numbers on the device.
#[derive(Debug)]
pub struct Buffer {
    memory: Memory,
    /// After the memory, which is given back to it.
    _device: Rc<Device>,
    len: usize,
    kind: Kind,
}

impl Buffer {
    /// Bytes of memory for `len` numbers.
    pub(super) const fn size(len: usize, kind: Kind) -> usize {
        match kind {
            Kind::Parameter => rounded_offset(len) + len * size_of::<u16>(),
            Kind::State => len * size_of::<f32>(),
            Kind::Activation => len * size_of::<u16>(),
        }
    }

    /// `len` numbers in `memory` of [`Self::size`].
    pub(super) fn new(device: &Rc<Device>, memory: Memory, len: usize, kind: Kind) -> Self {
        Self {
            memory,
            _device: Rc::clone(device),
            len,
            kind,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.memory.bytes() as u64
    }

    /// Of its `f32`.
    pub(super) fn exact(&self) -> Address {
        assert!(self.kind != Kind::Activation, "activations are bf16");
        self.memory.address()
    }

    /// Of its `bf16`: an activation, or the copy of a parameter that products read.
    pub(super) fn rounded(&self) -> Address {
        match self.kind {
            Kind::Activation => self.memory.address(),
            Kind::Parameter => self.memory.address() + rounded_offset(self.len) as Address,
            Kind::State => unreachable!("state has no bf16"),
        }
    }

    pub(super) fn is_parameter(&self) -> bool {
        self.kind == Kind::Parameter
    }
}

/// Products want their factors aligned to 16 bytes.
const fn rounded_offset(len: usize) -> usize {
    (len * size_of::<f32>()).next_multiple_of(16)
}

/// Token ids on the device.
#[derive(Debug)]
pub struct Ids {
    memory: Memory,
    _device: Rc<Device>,
}

impl Ids {
    /// As many as fit into `memory`.
    pub(super) fn new(device: &Rc<Device>, memory: Memory) -> Self {
        Self {
            memory,
            _device: Rc::clone(device),
        }
    }

    pub(super) const fn address(&self) -> Address {
        self.memory.address()
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.memory.bytes() as u64
    }
}

/// A loss or a norm: a place in the table of all that have not been dropped.
#[derive(Debug)]
pub struct Scalar {
    place: usize,
    /// The flush that computes it: see [`super::queue::Queue`].
    flush: u64,
    free: Rc<RefCell<Vec<usize>>>,
}

impl Scalar {
    pub(super) const fn place(&self) -> usize {
        self.place
    }

    pub(super) const fn flush(&self) -> u64 {
        self.flush
    }

    /// It is computed by flush number `flush`.
    pub(super) const fn owed_by(&mut self, flush: u64) {
        self.flush = flush;
    }
}

impl Drop for Scalar {
    fn drop(&mut self) {
        self.free.borrow_mut().push(self.place);
    }
}

/// The table of scalars: once on the device, whose kernels read it, and once where the host does without
/// asking the device.
#[derive(Debug)]
pub(super) struct Scalars {
    memory: Memory,
    seen: Pinned,
    free: Rc<RefCell<Vec<usize>>>,
}

/// Scalars that may live at once.
const SCALARS: usize = 1 << 16;

impl Scalars {
    pub(super) fn new(device: &Rc<Device>) -> Result<Self, BackendError> {
        Ok(Self {
            memory: device.zeros(SCALARS * size_of::<f64>())?,
            seen: device.pinned(SCALARS)?,
            free: Rc::new(RefCell::new((0..SCALARS).rev().collect())),
        })
    }

    /// A place of its own; nothing if all are taken.
    pub(super) fn take(&self) -> Option<Scalar> {
        let place = self.free.borrow_mut().pop()?;
        Some(Scalar {
            place,
            flush: 0,
            free: Rc::clone(&self.free),
        })
    }

    pub(super) const fn address(&self) -> Address {
        self.memory.address()
    }

    /// Of the table that the host reads.
    pub(super) const fn seen_address(&self) -> Address {
        self.seen.address()
    }

    /// The number of `scalar`, whose flush must have been waited for.
    pub(super) fn read(&self, scalar: &Scalar) -> f64 {
        self.seen.read(scalar.place)
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.memory.bytes() as u64
    }
}
