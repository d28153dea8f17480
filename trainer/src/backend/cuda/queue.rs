//! Launches that wait to be sent to the device together.
//!
//! Steps only write down what to launch. When something is waited for, memory is written from
//! outside, or windows are drawn, all of it is sent. The same launches with the same arguments come again step after step;
//! from the second time on they are one CUDA graph. What changes from step to step (streams of random
//! numbers, learning rate, places of losses) is therefore not an argument: it is a value in a table on
//! the device, which is written before the launches, and an argument is its address.
//!
//! Each flush has a number and an event behind it, so that one of them can be waited for and not those
//! after it.

use std::rc::Rc;

use super::device::Device;
use super::driver::{Address, Form, Graph, Memory};
use super::kernels::Kernel;
use super::marks::Marks;
use crate::backend::BackendError;

/// Values of one flush.
const VALUES: usize = 4096;

/// Values that one launch writes: as in `kernels/update.cuh`.
const VALUES_AT_ONCE: usize = 256;

/// Sequences of launches that are remembered.
const SEQUENCES: usize = 8;

/// Bytes of the longest parameter, the values apart.
const LONGEST: usize = 128;

/// The bytes of a kernel's parameter, laid out as C does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Arguments {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; LONGEST],
            len: 0,
        }
    }

    fn put<const N: usize>(mut self, bytes: [u8; N]) -> Self {
        self.len = self.len.next_multiple_of(N);
        self.bytes[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += N;
        self
    }

    pub(super) fn address(self, address: Address) -> Self {
        self.put(address.to_ne_bytes())
    }

    pub(super) fn long(self, number: usize) -> Self {
        self.put((number as i64).to_ne_bytes())
    }

    pub(super) fn int(self, number: usize) -> Self {
        let number = i32::try_from(number).expect("sizes of a step are below 2^31");
        self.put(number.to_ne_bytes())
    }

    pub(super) fn float(self, number: f32) -> Self {
        self.put(number.to_ne_bytes())
    }

    /// All structs hold an address and so end at a multiple of its size.
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.next_multiple_of(size_of::<Address>())]
    }
}

/// What a device is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Launch {
    Kernel {
        kernel: Kernel,
        grid: [u32; 3],
        threads: u32,
        arguments: Arguments,
    },
    /// Of the library: `[a, b, out]`.
    Product { form: Form, addresses: [Address; 3] },
}

/// A sequence of launches that was sent, and its graph if it was sent again.
#[derive(Debug)]
struct Sequence {
    launches: Vec<Launch>,
    graph: Option<Graph>,
}

/// Launches to be sent to a device.
#[derive(Debug)]
pub(super) struct Queue {
    /// The latest used last. Before the device, which graphs need to be dropped.
    sequences: Vec<Sequence>,
    launches: Vec<Launch>,
    values: Vec<u64>,
    table: Memory,
    marks: Marks,
    /// What ended a flush: what it was to send is lost, and so is what is asked for after it.
    failed: Option<BackendError>,
    device: Rc<Device>,
}

impl Queue {
    pub(super) fn new(device: Rc<Device>) -> Result<Self, BackendError> {
        Ok(Self {
            sequences: Vec::new(),
            launches: Vec::new(),
            values: Vec::new(),
            table: device.zeros(VALUES * size_of::<u64>())?,
            marks: Marks::default(),
            failed: None,
            device,
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.table.bytes() as u64
    }

    /// Where kernels find `values`, in their order, up to the next [`Self::flush`]; asking for more values
    /// or for memory may flush.
    pub(super) fn values(&mut self, values: &[u64]) -> Result<Address, BackendError> {
        if self.values.len() + values.len() > VALUES {
            self.flush()?;
        }
        assert!(
            self.values.len() + values.len() <= VALUES,
            "values are launched before others are asked for"
        );
        let address = self.table.address() + (self.values.len() * size_of::<u64>()) as u64;
        self.values.extend(values);
        Ok(address)
    }

    pub(super) fn launch(
        &mut self,
        kernel: Kernel,
        grid: [usize; 3],
        threads: u32,
        arguments: Arguments,
    ) {
        let size = |n| u32::try_from(n).expect("grids of a step are below 2^32");
        self.launches.push(Launch::Kernel {
            kernel,
            grid: grid.map(size),
            threads,
            arguments,
        });
    }

    /// A product of a `form` that the library does.
    pub(super) fn multiply(&mut self, form: Form, addresses: [Address; 3]) {
        self.launches.push(Launch::Product { form, addresses });
    }

    /// The number of the next flush that sends anything.
    pub(super) const fn flush_number(&self) -> u64 {
        self.marks.next()
    }

    /// Sends all launches to the device. Where that fails it fails from then on.
    pub(super) fn flush(&mut self) -> Result<(), BackendError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.launches.is_empty() {
            return Ok(());
        }
        let sent = self.send_all();
        self.failed = sent.clone().err();
        sent
    }

    fn send_all(&mut self) -> Result<(), BackendError> {
        self.send_values()?;
        self.send_launches()?;
        let marked = self.marks.mark(&self.device.stream);
        marked.map_err(|failed| self.device.error("marking a step", failed))
    }

    /// Sends all launches and waits until flush number `number`, theirs or one before it, is done.
    pub(super) fn wait(&mut self, number: u64) -> Result<(), BackendError> {
        self.flush()?;
        let done = self.marks.wait(number);
        done.map_err(|failed| self.device.error("a step of training", failed))
    }

    fn send_launches(&mut self) -> Result<(), BackendError> {
        let launches = core::mem::take(&mut self.launches);
        let known = |sequence: &Sequence| sequence.launches == launches;
        let Some(at) = self.sequences.iter().position(known) else {
            send(&self.device, &launches)?;
            if self.sequences.len() == SEQUENCES {
                self.sequences.remove(0);
            }
            self.sequences.push(Sequence {
                launches,
                graph: None,
            });
            return Ok(());
        };
        let sequence = self.sequences.remove(at);
        let error = |failed| self.device.error("a graph of launches", failed);
        let stream = &self.device.stream;
        let graph = match sequence.graph {
            Some(graph) => graph,
            None => {
                let (sent, graph) = stream
                    .record(|| send(&self.device, &launches))
                    .map_err(error)?;
                sent?;
                graph
            }
        };
        stream.replay(&graph).map_err(error)?;
        self.sequences.push(Sequence {
            launches,
            graph: Some(graph),
        });
        Ok(())
    }

    /// Sends all launches and waits for the device; sequences are forgotten, so that memory that
    /// they use may be given back.
    pub(super) fn settle(&mut self) -> Result<(), BackendError> {
        self.flush()?;
        let done = self.device.stream.wait();
        done.map_err(|failed| self.device.error("a step of training", failed))?;
        self.sequences.clear();
        self.marks.close_all();
        Ok(())
    }

    fn send_values(&mut self) -> Result<(), BackendError> {
        for (i, values) in self.values.chunks(VALUES_AT_ONCE).enumerate() {
            let place = self.table.address() + (i * VALUES_AT_ONCE * size_of::<u64>()) as u64;
            let mut bytes = place.to_ne_bytes().to_vec();
            bytes.extend((values.len() as u64).to_le_bytes());
            bytes.extend(values.iter().flat_map(|value| value.to_ne_bytes()));
            bytes.resize((VALUES_AT_ONCE + 2) * size_of::<u64>(), 0);
            let threads = VALUES_AT_ONCE as u32;
            let sent = self
                .device
                .launch(Kernel::SetValues, [1; 3], threads, &bytes);
            sent.map_err(|failed| self.device.error(Kernel::SetValues.name(), failed))?;
        }
        self.values.clear();
        Ok(())
    }
}

fn send(device: &Device, launches: &[Launch]) -> Result<(), BackendError> {
    launches.iter().try_for_each(|launch| match launch {
        Launch::Kernel {
            kernel,
            grid,
            threads,
            arguments,
        } => {
            let sent = device.launch(*kernel, *grid, *threads, arguments.bytes());
            sent.map_err(|failed| device.error(kernel.name(), failed))
        }
        Launch::Product { form, addresses } => device.multiply(*form, *addresses),
    })
}
