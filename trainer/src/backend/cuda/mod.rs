//! Training on an NVIDIA GPU.
//!
//! Matrix products are of `bf16` with sums in `f32`, on the tensor cores; parameters, their moments,
//! gradients and the residual stream are `f32`. Every reduction has a fixed order, so that a run
//! repeats bit for bit on the same device. The driver is found at run time ([`find`]), the kernels
//! are inside the binary (`kernels`), a step is launches that are sent together (`queue`), its windows are drawn
//! on the device (`corpus`), and NVIDIA's library takes part only where it is asked to (`library`).

use core::cell::RefCell;
use core::fmt;

use minigpt_runtime::config::Config;

use super::{Ahead, BackendError};

mod attention;
mod backend;
mod buffer;
mod corpus;
mod device;
mod driver;
mod embedding;
mod kernels;
mod library;
mod linear;
mod loss;
mod marks;
mod memory;
mod mlp;
mod muon;
mod queue;
mod rows;
mod update;
mod work;

pub use buffer::{Buffer, Ids, Scalar};
pub use corpus::Corpus;
pub use device::{FindError, Found, find};
pub use memory::Demands;

use work::Work;

/// Steps are asked for ahead of the device so that it never waits for the host; how many is enough for
/// that where steps are short, and the time where they are long.
const AHEAD: Ahead = Ahead {
    steps: 32,
    seconds: 0.2,
};

/// A GPU as a [`Backend`](super::Backend).
///
/// Belongs to the thread that made it.
pub struct Cuda {
    ahead: Ahead,
    /// Reading sends what is queued, and a model that is read is not changed.
    work: RefCell<Work>,
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cuda")
            .field(self.work.borrow().found())
            .finish()
    }
}

impl Cuda {
    /// Device number `number`, from 0.
    ///
    /// # Errors
    /// A [`FindError`] if there is no such device that can be used.
    pub fn find(number: usize) -> Result<Found, FindError> {
        let all = find()?;
        let count = all.len();
        let found = all.into_iter().nth(number);
        let found = found.ok_or(FindError::Number { number, count })?;
        found.suits()?;
        Ok(found)
    }

    /// Takes `found` into use.
    ///
    /// # Errors
    /// A [`BackendError`] if it does not start.
    pub fn new(found: Found) -> Result<Self, BackendError> {
        let work = Work::new(device::Device::open(found)?)?;
        Ok(Self {
            ahead: AHEAD,
            work: RefCell::new(work),
        })
    }

    /// The same, with training `ahead` of it instead of as far as is usual.
    #[must_use]
    pub fn with_ahead(mut self, ahead: Ahead) -> Self {
        self.ahead = ahead;
        self
    }

    /// The same, with cuBLASLt for the products whose results are stored as they are.
    ///
    /// # Errors
    /// [`BackendError::Unsupported`] if the library is not there; another if it does not start.
    pub fn with_cublaslt(mut self) -> Result<Self, BackendError> {
        self.work.get_mut().use_library()?;
        Ok(self)
    }

    /// Whether the loader finds cuBLASLt.
    #[must_use]
    pub fn has_cublaslt() -> bool {
        driver::library_is_present()
    }

    /// Free bytes of the device's memory.
    #[must_use]
    pub fn free(&self) -> u64 {
        device::free()
    }

    /// Whether a model of shape `config` can be trained on `found`.
    ///
    /// # Errors
    /// [`BackendError::Unsupported`].
    pub fn supports(found: &Found, config: &Config) -> Result<(), BackendError> {
        attention::padded(found, config).map(|_| ())
    }
}
