//! What the steps share: the queue, memory between launches, and copies to and from the host.

use std::rc::Rc;

use minigpt_runtime::rng;
use pulp::bytemuck;

use super::buffer::{Buffer, Ids, Scalar, Scalars};
use super::device::{Device, Found};
use super::driver::{Address, Form, Memory};
use super::kernels::Kernel;
use super::library::Products;
use super::queue::{Arguments, Queue};
use crate::backend::{BackendError, Dropout, Kind};

/// Threads of a block of the kernels that do not say otherwise.
pub(super) const THREADS: u32 = 256;

/// Memory whose contents mean nothing between steps; it grows and stays.
#[derive(Debug, Default)]
struct Scratch(Option<Memory>);

/// A device at work.
#[derive(Debug)]
pub(super) struct Work {
    queue: Queue,
    scratch: Scratch,
    /// Parts of sums: beside the scratch of the step that asks for the sum.
    parts: Scratch,
    scalars: Scalars,
    pub(super) pieces: super::update::Pieces,
    pub(super) corpora: super::corpus::Corpora,
    bytes: u64,
    device: Rc<Device>,
}

impl Work {
    pub(super) fn new(device: Rc<Device>) -> Result<Self, BackendError> {
        Ok(Self {
            queue: Queue::new(Rc::clone(&device))?,
            scratch: Scratch::default(),
            parts: Scratch::default(),
            scalars: Scalars::new(&device)?,
            pieces: super::update::Pieces::default(),
            corpora: super::corpus::Corpora::default(),
            bytes: 0,
            device,
        })
    }

    pub(super) const fn device(&self) -> &Rc<Device> {
        &self.device
    }

    pub(super) fn found(&self) -> &Found {
        &self.device.found
    }

    /// Blocks that keep the device busy.
    pub(super) fn busy(&self) -> usize {
        (self.found().processors as usize).max(1)
    }

    pub(super) fn bytes(&self) -> u64 {
        let scratch = |scratch: &Scratch| scratch.0.as_ref().map_or(0, Memory::bytes) as u64;
        let fixed = self.queue.bytes() + self.scalars.bytes() + self.pieces.bytes();
        let library = self.device.products.get().map_or(0, Products::bytes);
        let kept = self.bytes + self.corpora.bytes() + library + fixed;
        kept + scratch(&self.scratch) + scratch(&self.parts)
    }

    pub(super) fn buffer(&mut self, len: usize, kind: Kind) -> Result<Buffer, BackendError> {
        let memory = self.zeros(Buffer::size(len, kind))?;
        let buffer = Buffer::new(&self.device, memory, len, kind);
        self.bytes += buffer.bytes();
        Ok(buffer)
    }

    pub(super) fn ids(&mut self, len: usize) -> Result<Ids, BackendError> {
        let memory = self.zeros(len * size_of::<u32>())?;
        let ids = Ids::new(&self.device, memory);
        self.bytes += ids.bytes();
        Ok(ids)
    }

    pub(super) fn write_ids(&mut self, ids: &mut Ids, values: &[u32]) -> Result<(), BackendError> {
        let bytes: Vec<u8> = values.iter().flat_map(|id| id.to_ne_bytes()).collect();
        assert_eq!(bytes.len() as u64, ids.bytes(), "ids of a batch");
        self.upload(ids.address(), &bytes)
    }

    pub(super) fn write(
        &mut self,
        buffer: &mut Buffer,
        values: &[f32],
    ) -> Result<(), BackendError> {
        assert_eq!(values.len(), buffer.len(), "values of a buffer");
        self.upload(buffer.exact(), bytemuck::cast_slice(values))?;
        if buffer.is_parameter() && !values.is_empty() {
            let (to, from) = (buffer.rounded(), buffer.exact());
            self.round(to, from, buffer.len(), Dropout::OFF)?;
        }
        Ok(())
    }

    pub(super) fn read(&mut self, buffer: &Buffer) -> Result<Vec<f32>, BackendError> {
        self.floats(buffer.exact(), buffer.len())
    }

    pub(super) fn read_scalar(&mut self, scalar: &Scalar) -> Result<f64, BackendError> {
        self.queue.wait(scalar.flush())?;
        Ok(self.scalars.read(scalar))
    }

    /// Copies `len` numbers to the host.
    pub(super) fn floats(&mut self, from: Address, len: usize) -> Result<Vec<f32>, BackendError> {
        let mut values = vec![0.0f32; len];
        self.download(bytemuck::cast_slice_mut(&mut values), from)?;
        Ok(values)
    }

    /// Copies to the device, after all launches up to here.
    pub(super) fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), BackendError> {
        self.queue.flush()?;
        self.device.upload(to, bytes)
    }

    fn download(&mut self, to: &mut [u8], from: Address) -> Result<(), BackendError> {
        self.queue.flush()?;
        self.device.download(to, from)
    }

    /// Memory that stays, for a table.
    pub(super) fn memory(&mut self, bytes: usize) -> Result<Memory, BackendError> {
        self.queue.settle()?;
        self.zeros(bytes)
    }

    /// Memory filled with zeros; corpora give way where there is not enough.
    fn zeros(&mut self, bytes: usize) -> Result<Memory, BackendError> {
        match self.device.zeros(bytes) {
            Err(BackendError::Memory { .. }) if self.corpora.bytes() > 0 => {
                self.queue.settle()?;
                self.corpora.give_way();
                self.device.zeros(bytes)
            }
            done => done,
        }
    }

    /// Sends what is launched to the device.
    pub(super) fn flush(&mut self) -> Result<(), BackendError> {
        self.queue.flush()
    }

    /// A new scalar.
    pub(super) fn scalar(&self) -> Result<Scalar, BackendError> {
        let full = || BackendError::Unsupported {
            device: self.found().name.clone(),
            what: "its steps keep more losses than it has room for (lower accumulation)".into(),
        };
        self.scalars.take().ok_or_else(full)
    }

    /// Addresses of the table of scalars, and of what the host sees of it.
    pub(super) fn scalars(&self) -> [Address; 2] {
        [self.scalars.address(), self.scalars.seen_address()]
    }

    /// The number of the flush that will send what is launched now.
    pub(super) const fn flush_number(&self) -> u64 {
        self.queue.flush_number()
    }

    pub(super) fn values(&mut self, values: &[u64]) -> Result<Address, BackendError> {
        self.queue.values(values)
    }

    pub(super) fn launch(
        &mut self,
        kernel: Kernel,
        grid: [usize; 3],
        threads: u32,
        arguments: Arguments,
    ) {
        self.queue.launch(kernel, grid, threads, arguments);
    }

    /// Has the library do a product, where it is in use and does such; else nothing is done.
    pub(super) fn multiply(
        &mut self,
        form: Form,
        addresses: [Address; 3],
    ) -> Result<bool, BackendError> {
        let Some(products) = self.device.products.get() else {
            return Ok(false);
        };
        let does = products.does(form);
        if does.map_err(|refused| self.device.refused(refused))? {
            self.queue.multiply(form, addresses);
            return Ok(true);
        }
        Ok(false)
    }

    /// Has the library do what it can from now on.
    pub(super) fn use_library(&mut self) -> Result<(), BackendError> {
        let products = Products::new(&self.device)?;
        // Whoever asks again has it already.
        let _ = self.device.products.set(products);
        Ok(())
    }

    /// One thread for each of `n` values.
    pub(super) fn launch_each(&mut self, kernel: Kernel, n: usize, arguments: Arguments) {
        let grid = [n.div_ceil(THREADS as usize), 1, 1];
        self.launch(kernel, grid, THREADS, arguments);
    }

    /// Disjoint memory of the sizes in bytes that are asked for; what an earlier call gave is over.
    pub(super) fn scratch<const N: usize>(
        &mut self,
        bytes: [usize; N],
    ) -> Result<[Address; N], BackendError> {
        let mut ends = [0; N];
        let mut total = 0;
        for (end, bytes) in ends.iter_mut().zip(bytes) {
            *end = total;
            total += bytes.next_multiple_of(256);
        }
        let start = self.grown(|work| &mut work.scratch, total)?;
        Ok(ends.map(|end| start + end as Address))
    }

    /// Memory for parts of sums, of `len` numbers.
    pub(super) fn parts(&mut self, len: usize) -> Result<Address, BackendError> {
        let bytes = len * size_of::<f32>();
        self.grown(|work| &mut work.parts, bytes)
    }

    /// The memory of `scratch`, at least `bytes` of it.
    fn grown(
        &mut self,
        scratch: fn(&mut Self) -> &mut Scratch,
        bytes: usize,
    ) -> Result<Address, BackendError> {
        if let Some(memory) = &scratch(self).0
            && memory.bytes() >= bytes
        {
            return Ok(memory.address());
        }
        self.queue.settle()?;
        scratch(self).0 = None;
        let memory = self.zeros(bytes)?;
        let address = memory.address();
        scratch(self).0 = Some(memory);
        Ok(address)
    }

    /// The member `Drop` of a kernel's parameter.
    pub(super) fn dropped(
        &mut self,
        arguments: Arguments,
        dropout: Dropout,
    ) -> Result<Arguments, BackendError> {
        let Dropout {
            probability,
            seed,
            stream,
        } = dropout;
        let key = match probability > 0.0 {
            true => self.values(&[rng::key(seed, stream)])?,
            false => 0,
        };
        let scale = 1.0 / (1.0 - probability);
        Ok(arguments.address(key).float(probability).float(scale))
    }

    /// `to = drop(from)` in `bf16`.
    pub(super) fn round(
        &mut self,
        to: Address,
        from: Address,
        len: usize,
        dropout: Dropout,
    ) -> Result<(), BackendError> {
        let arguments = Arguments::new().address(to).address(from).long(len);
        let arguments = self.dropped(arguments, dropout)?;
        self.launch_each(Kernel::RoundValues, len, arguments);
        Ok(())
    }
}
