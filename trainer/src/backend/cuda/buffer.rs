//! What lies on the device.

use core::cell::RefCell;
use std::rc::Rc;

use super::device::Device;
use super::driver::{Address, Memory};
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
    pub(super) fn new(device: &Rc<Device>, len: usize, kind: Kind) -> Result<Self, BackendError> {
        let bytes = match kind {
            Kind::Parameter => rounded_offset(len) + len * size_of::<u16>(),
            Kind::State => len * size_of::<f32>(),
            Kind::Activation => len * size_of::<u16>(),
        };
        Ok(Self {
            memory: device.zeros(bytes)?,
            _device: Rc::clone(device),
            len,
            kind,
        })
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
    pub(super) fn new(device: &Rc<Device>, len: usize) -> Result<Self, BackendError> {
        Ok(Self {
            memory: device.zeros(len * size_of::<u32>())?,
            _device: Rc::clone(device),
        })
    }

    pub(super) const fn address(&self) -> Address {
        self.memory.address()
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.memory.bytes() as u64
    }
}

/// A loss or a norm on the device: a place in the table of all that have not been dropped.
#[derive(Debug)]
pub struct Scalar {
    place: usize,
    free: Rc<RefCell<Vec<usize>>>,
}

impl Scalar {
    pub(super) const fn place(&self) -> usize {
        self.place
    }
}

impl Drop for Scalar {
    fn drop(&mut self) {
        self.free.borrow_mut().push(self.place);
    }
}

/// The table of scalars.
#[derive(Debug)]
pub(super) struct Scalars {
    memory: Memory,
    free: Rc<RefCell<Vec<usize>>>,
}

/// Scalars that may live at once.
const SCALARS: usize = 1 << 16;

impl Scalars {
    pub(super) fn new(device: &Rc<Device>) -> Result<Self, BackendError> {
        Ok(Self {
            memory: device.zeros(SCALARS * size_of::<f64>())?,
            free: Rc::new(RefCell::new((0..SCALARS).rev().collect())),
        })
    }

    /// A place of its own; nothing if all are taken.
    pub(super) fn take(&self) -> Option<Scalar> {
        let place = self.free.borrow_mut().pop()?;
        Some(Scalar {
            place,
            free: Rc::clone(&self.free),
        })
    }

    pub(super) const fn address(&self) -> Address {
        self.memory.address()
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.memory.bytes() as u64
    }
}
