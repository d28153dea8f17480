//! Which devices there are, and one of them in use.

use core::cell::OnceCell;
use core::fmt;
use std::ffi::CString;
use std::rc::Rc;

use minigpt_runtime::config::Config;

use super::driver::{
    self, Address, Context, Failed, Form, Function, Memory, Module, Pinned, Refused, Stream,
};
use super::kernels::{self, Kernel};
use super::library::Products;
use super::memory::{self, Demands};
use crate::backend::BackendError;

/// The driver that the kernels need: CUDA 12.2.
const DRIVER: i32 = 12_020;

/// Why no device can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindError {
    /// The machine has no CUDA driver.
    NoDriver,
    /// It has one that is too old.
    OldDriver {
        /// The CUDA that it knows, such as `11.8`.
        version: String,
    },
    /// The driver does not start.
    Driver {
        /// What it says.
        message: String,
    },
    /// There is a driver and no device.
    NoDevice,
    /// There is no device of this number.
    Number {
        /// The number.
        number: usize,
        /// How many there are, from 0.
        count: usize,
    },
    /// The device is too old.
    OldDevice {
        /// Which.
        name: String,
        /// Its compute capability, such as `7.5`.
        capability: String,
    },
}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDriver => f.write_str(
                "there is no CUDA driver on this machine; install NVIDIA's driver 535 or newer \
                 to train on one of its GPUs",
            ),
            Self::OldDriver { version } => write!(
                f,
                "the CUDA driver knows CUDA {version}, and 12.2 is needed; \
                 install NVIDIA's driver 535 or newer"
            ),
            Self::Driver { message } => write!(
                f,
                "the CUDA driver does not start: {message}; nvidia-smi may say more"
            ),
            Self::NoDevice => f.write_str("there is a CUDA driver and no GPU that it can use"),
            Self::Number { number, count: 1 } => {
                write!(f, "there is no cuda:{number}; the only one is cuda:0")
            }
            Self::Number { number, count } => write!(
                f,
                "there is no cuda:{number}; there are cuda:0 to cuda:{}",
                count - 1
            ),
            Self::OldDevice { name, capability } => write!(
                f,
                "{name} has compute capability {capability}, and 8.0 is needed (Ampere or newer)"
            ),
        }
    }
}

impl core::error::Error for FindError {}

impl From<Failed> for FindError {
    fn from(failed: Failed) -> Self {
        let message = failed.message();
        match failed.is_no_device() {
            true => Self::NoDevice,
            false => Self::Driver { message },
        }
    }
}

/// What is known of a device before it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Its number, from 0.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// Bytes of its memory.
    pub memory: u64,
    /// Its compute capability.
    pub capability: (u32, u32),
    /// Its processors.
    pub processors: u32,
}

impl Found {
    /// Bytes of its memory that training of a model of shape `config`, on batches of `n_batch` windows, takes at
    /// least.
    #[must_use]
    pub fn needed(&self, config: &Config, n_batch: usize, demands: Demands) -> u64 {
        memory::needed(self, config, n_batch, demands)
    }

    /// Whether the kernels run on it.
    ///
    /// # Errors
    /// [`FindError::OldDevice`].
    pub fn suits(&self) -> Result<(), FindError> {
        let (major, minor) = self.capability;
        if major >= 8 {
            return Ok(());
        }
        Err(FindError::OldDevice {
            name: self.name.clone(),
            capability: format!("{major}.{minor}"),
        })
    }
}

/// All devices of the machine.
///
/// # Errors
/// A [`FindError`] if there is none.
pub fn find() -> Result<Vec<Found>, FindError> {
    if !driver::is_present() {
        return Err(FindError::NoDriver);
    }
    driver::start()?;
    let version = driver::version()?;
    if version < DRIVER {
        let version = format!("{}.{}", version / 1000, version % 1000 / 10);
        return Err(FindError::OldDriver { version });
    }
    let found = (0..driver::device_count()?).map(|number| {
        let device = driver::device(number)?;
        let [major, minor, processors] = driver::device_facts(device)?;
        Ok(Found {
            number: number as usize,
            name: driver::device_name(device)?,
            memory: driver::device_memory(device)? as u64,
            capability: (major as u32, minor as u32),
            processors: processors as u32,
        })
    });
    let found: Vec<_> = found.collect::<Result<_, Failed>>()?;
    match found.is_empty() {
        true => Err(FindError::NoDevice),
        false => Ok(found),
    }
}

/// A device in use. Its fields are dropped in this order.
#[derive(Debug)]
pub(super) struct Device {
    /// cuBLASLt, where it is wanted.
    pub(super) products: OnceCell<Products>,
    pub(super) stream: Stream,
    functions: Vec<Function>,
    _module: Module,
    _context: Context,
    pub(super) found: Found,
}

impl Device {
    pub(super) fn open(found: Found) -> Result<Rc<Self>, BackendError> {
        let failed = |doing| {
            let name = &found.name;
            move |failed: Failed| device_error(name, doing, failed)
        };
        let device = driver::device(found.number as i32).map_err(failed("its start"))?;
        let context = Context::new(device).map_err(failed("its start"))?;
        let stream = Stream::new().map_err(failed("its start"))?;
        let module = kernels::load(found.capability).map_err(failed("loading the kernels"))?;
        let function = |kernel: &Kernel| {
            let name = CString::new(kernel.name()).unwrap_or_default();
            module.function(&name)
        };
        let functions = Kernel::ALL.iter().map(function).collect::<Result<_, _>>();
        let functions = functions.map_err(failed("loading the kernels"))?;
        Ok(Rc::new(Self {
            products: OnceCell::new(),
            stream,
            functions,
            _module: module,
            _context: context,
            found,
        }))
    }

    /// Runs `kernel`.
    pub(super) fn launch(
        &self,
        kernel: Kernel,
        grid: [u32; 3],
        threads: u32,
        arguments: &[u8],
    ) -> Result<(), Failed> {
        let function = self.functions[kernel as usize];
        self.stream.launch(function, grid, threads, arguments)
    }

    /// Has the library do a product of a `form` that it does: `[a, b, out]`.
    pub(super) fn multiply(&self, form: Form, addresses: [Address; 3]) -> Result<(), BackendError> {
        let products = self.products.get();
        let products = products.expect("products are asked for where there is the library");
        let asked = products.multiply(self, form, addresses);
        asked.map_err(|refused| self.refused(refused))
    }

    /// Memory filled with zeros.
    pub(super) fn zeros(&self, bytes: usize) -> Result<Memory, BackendError> {
        let memory = Memory::new(bytes).map_err(|failed| match failed.is_out_of_memory() {
            true => BackendError::Memory {
                device: self.found.name.clone(),
                needed: bytes as u64,
                free: free(),
            },
            false => self.error("taking memory", failed),
        })?;
        let zeros = match bytes {
            0 => Ok(()),
            _ => self.stream.fill_with_zeros(memory.address(), bytes),
        };
        zeros.map_err(|failed| self.error("clearing memory", failed))?;
        Ok(memory)
    }

    /// `n` numbers of the host that the device writes to.
    pub(super) fn pinned(&self, n: usize) -> Result<Pinned, BackendError> {
        Pinned::new(n).map_err(|failed| self.error("taking memory of the host", failed))
    }

    /// Copies to the device.
    pub(super) fn upload(&self, to: Address, from: &[u8]) -> Result<(), BackendError> {
        if from.is_empty() {
            return Ok(());
        }
        let done = self.stream.upload(to, from);
        done.map_err(|failed| self.error("copying to it", failed))
    }

    /// Copies from the device, after all work before it.
    pub(super) fn download(&self, to: &mut [u8], from: Address) -> Result<(), BackendError> {
        if to.is_empty() {
            return Ok(());
        }
        let done = self.stream.download(to, from);
        done.map_err(|failed| self.error("a step of training", failed))
    }

    pub(super) fn refused(&self, refused: Refused) -> BackendError {
        BackendError::Device {
            device: self.found.name.clone(),
            doing: "a product of matrices".to_owned(),
            message: refused.message(),
        }
    }

    pub(super) fn error(&self, doing: &str, failed: Failed) -> BackendError {
        device_error(&self.found.name, doing, failed)
    }
}

/// Free bytes of the device in use by this thread; 0 if it does not say.
pub(super) fn free() -> u64 {
    driver::free_memory().unwrap_or(0) as u64
}

fn device_error(device: &str, doing: &str, failed: Failed) -> BackendError {
    BackendError::Device {
        device: device.to_owned(),
        doing: doing.to_owned(),
        message: failed.message(),
    }
}
