//! Windows to train on: drawn on the device from tokens that lie there, or by the host where the device has
//! no room for them. Both are the same windows.

use core::cell::RefCell;
use std::rc::{Rc, Weak};

use super::buffer::Ids;
use super::device::{self, Device};
use super::driver::{Address, Memory};
use super::kernels::Kernel;
use super::queue::Arguments;
use super::work::{THREADS, Work};
use crate::backend::{BackendError, Shape};
use crate::data::token_file::TokenFile;
use crate::data::windows::{Draw, n_starts};

/// Tokens take one part in so many of the memory that is free when they come, or else stay with the host.
const SHARE: u64 = 4;

/// Memory that is given back when the device runs out of it.
type Lent = RefCell<Option<Memory>>;

/// Tokens to draw from.
#[derive(Debug)]
pub struct Corpus {
    file: TokenFile,
    /// The file's bytes on the device, where they are there.
    resident: Rc<Lent>,
    /// After the memory, which is given back to it.
    _device: Rc<Device>,
}

impl Corpus {
    fn address(&self) -> Option<Address> {
        self.resident.borrow().as_ref().map(Memory::address)
    }
}

/// All corpora of a device.
#[derive(Debug, Default)]
pub(super) struct Corpora(Vec<Weak<Lent>>);

impl Corpora {
    /// Bytes of those that lie on the device.
    pub(super) fn bytes(&self) -> u64 {
        let corpora = self.0.iter().filter_map(Weak::upgrade);
        let bytes = corpora.map(|corpus| corpus.borrow().as_ref().map_or(0, Memory::bytes) as u64);
        bytes.sum()
    }

    /// Has the device forget them: from now on the host draws. No launch that reads them may be left.
    pub(super) fn give_way(&mut self) {
        for corpus in self.0.drain(..).filter_map(|corpus| corpus.upgrade()) {
            corpus.borrow_mut().take();
        }
    }
}

/// [`crate::backend::Memory::corpus`].
pub(super) fn corpus(work: &mut Work, file: &TokenFile) -> Result<Corpus, BackendError> {
    let bytes = file.bytes();
    let mut memory = None;
    if bytes.len() as u64 <= device::free() / SHARE {
        memory = match work.memory(bytes.len()) {
            Err(BackendError::Memory { .. }) => None,
            taken => Some(taken?),
        };
    }
    if let Some(memory) = &memory {
        work.upload(memory.address(), bytes)?;
    }
    let resident = Rc::new(RefCell::new(memory));
    work.corpora.0.push(Rc::downgrade(&resident));
    Ok(Corpus {
        file: file.clone(),
        resident,
        _device: Rc::clone(work.device()),
    })
}

/// [`crate::backend::Memory::draw`].
pub(super) fn draw(
    work: &mut Work,
    tokens: &mut Ids,
    targets: &mut Ids,
    corpus: &Corpus,
    draw: &Draw,
    shape: &Shape,
) -> Result<(), BackendError> {
    let (n_batch, n_time) = (shape.batch.n_batch, shape.batch.n_time);
    let n_starts = n_starts(&corpus.file, n_time);
    let Some(address) = corpus.address() else {
        let (mut read, mut said) = (vec![0; n_batch * n_time], vec![0; n_batch * n_time]);
        draw.fill(&corpus.file, n_time, &mut read, &mut said);
        work.write_ids(tokens, &read)?;
        return work.write_ids(targets, &said);
    };
    // What came before is a graph of its own.
    work.flush()?;
    let at = work.values(&[draw.key(), draw.first(n_batch)])?;
    let arguments = Arguments::new()
        .address(tokens.address())
        .address(targets.address())
        .address(address)
        .address(at)
        .long(n_starts)
        .int(n_time)
        .int(usize::from(corpus.file.is_wide()))
        .int(usize::from(draw.bos.is_some()))
        .int(draw.bos.unwrap_or(0) as usize);
    work.launch(Kernel::DrawWindows, [n_batch, 1, 1], THREADS, arguments);
    Ok(())
}
