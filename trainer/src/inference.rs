//! Running model files on a host: the one place where the format of a file, known only when it is
//! opened, meets the runtime's types.

use core::fmt;
use std::io;
use std::path::Path;

use minigpt_runtime::layout::{self, TensorId};
use minigpt_runtime::{
    F16, F32, Format, Isa, LoadError, MemoryPlan, ModelFile, Q4, Q8, Q8Dsp, Session, SessionError,
    SessionOptions, WeightFormat,
};

use rayon::{ThreadPoolBuildError, ThreadPoolBuilder};

use crate::aligned::AlignedBytes;
use crate::mapped::Mapped;

/// Tokens of a text that go through a model together.
pub const CHUNK: usize = 256;

/// The bytes of a model file, where they can be run.
#[derive(Debug)]
#[non_exhaustive]
pub enum ModelBytes {
    /// A file, mapped.
    Mapped(Mapped),
    /// Memory.
    Owned(AlignedBytes),
}

/// Why a file cannot be run.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The system does not give it.
    Read(io::Error),
    /// It is not a usable model.
    Load(LoadError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "{error}"),
            Self::Load(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for OpenError {}

impl ModelBytes {
    /// Maps the file at `path` and checks it, checksum included.
    ///
    /// # Errors
    /// [`OpenError::Read`] and [`OpenError::Load`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let bytes = Self::Mapped(Mapped::open(path).map_err(OpenError::Read)?);
        let checked = bytes.file().and_then(|file| file.verify());
        checked.map_err(OpenError::Load)?;
        Ok(bytes)
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(mapped) => mapped,
            Self::Owned(owned) => owned.bytes(),
        }
    }

    /// The file they are.
    ///
    /// # Errors
    /// A [`LoadError`] that says what is wrong.
    pub fn file(&self) -> Result<ModelFile<'_>, LoadError> {
        ModelFile::open(self.bytes())
    }
}

/// A session on a file of any format.
#[derive(Debug)]
#[non_exhaustive]
pub enum AnySession<'a> {
    /// On `f32` weights.
    F32(Session<'a, F32>),
    /// On `f16` weights.
    F16(Session<'a, F16>),
    /// On `q8` weights.
    Q8(Session<'a, Q8>),
    /// On `q8` weights in the order of Cortex-M's DSP extension.
    Q8Dsp(Session<'a, Q8Dsp>),
    /// On `q4` weights.
    Q4(Session<'a, Q4>),
}

/// Calls the same method on whichever session it is.
macro_rules! each {
    ($session:expr, $inner:ident => $call:expr) => {
        match $session {
            Self::F32($inner) => $call,
            Self::F16($inner) => $call,
            Self::Q8($inner) => $call,
            Self::Q8Dsp($inner) => $call,
            Self::Q4($inner) => $call,
        }
    };
}

/// The memory a session on `file` needs.
///
/// # Errors
/// [`SessionError::ArenaTooSmall`] with what this machine's address space can hold.
pub fn arena(file: &ModelFile<'_>, options: &SessionOptions) -> Result<AlignedBytes, SessionError> {
    let needed = MemoryPlan::new(file.config(), file.format(), options).total();
    usize::try_from(needed)
        .ok()
        .and_then(AlignedBytes::zeroed)
        .ok_or(SessionError::ArenaTooSmall { needed, given: 0 })
}

/// Runs `work`, in which an [`AnySession`] divides its work among `n` threads: see [`Session::set_threads`].
///
/// # Errors
/// What the system says when it starts no thread.
pub fn on_threads<R: Send>(
    n: usize,
    work: impl FnOnce() -> R + Send,
) -> Result<R, ThreadPoolBuildError> {
    if n < 2 {
        return Ok(work());
    }
    let pool = ThreadPoolBuilder::new().num_threads(n).build()?;
    Ok(pool.install(work))
}

/// Reads tensor `id` as `f32`, row by row: `each` gets the row's index and its values. A model without this
/// tensor has no rows of it.
///
/// # Panics
/// Never: the type is chosen by the file's own format.
pub fn read_rows(file: &ModelFile<'_>, id: TensorId, mut each: impl FnMut(usize, &[f32])) {
    fn read<W: WeightFormat>(
        file: &ModelFile<'_>,
        id: TensorId,
        each: &mut dyn FnMut(usize, &[f32]),
    ) {
        let model = file.model::<W>().expect("the type is that of the file");
        let cols = layout::spec(file.config(), id).map_or(0, |spec| spec.cols);
        // The room is that of a row, and no such tensor is no rows.
        let _ = model.read(id, &mut vec![0.0; cols], each);
    }
    let each: &mut dyn FnMut(usize, &[f32]) = &mut each;
    match file.format() {
        Format::F32 => read::<F32>(file, id, each),
        Format::F16 => read::<F16>(file, id, each),
        Format::Q8 => read::<Q8>(file, id, each),
        Format::Q8Dsp => read::<Q8Dsp>(file, id, each),
        Format::Q4 => read::<Q4>(file, id, each),
        format => unreachable!("no reading of {}", format.name()),
    }
}

impl<'a> AnySession<'a> {
    /// Starts an empty sequence in `memory`, see [`arena`]; inside [`on_threads`], or on the thread that called
    /// [`start_threads`](crate::run::start_threads), on as many threads.
    ///
    /// # Errors
    /// As [`Session::new`].
    ///
    /// # Panics
    /// Never: the type is chosen by the file's own format.
    pub fn new(
        file: &ModelFile<'a>,
        memory: &'a mut [u8],
        options: &SessionOptions,
    ) -> Result<Self, SessionError> {
        Self::with_isa(file, memory, options, Isa::detect())
    }

    /// [`Self::new`] with a chosen instruction set.
    ///
    /// # Errors
    /// As [`Self::new`].
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn with_isa(
        file: &ModelFile<'a>,
        memory: &'a mut [u8],
        options: &SessionOptions,
        isa: Isa,
    ) -> Result<Self, SessionError> {
        macro_rules! session {
            ($format:ident) => {{
                let model = file.model().expect("the type is that of the file");
                Self::$format(Session::with_isa(model, memory, options, isa)?)
            }};
        }
        let mut session = match file.format() {
            Format::F32 => session!(F32),
            Format::F16 => session!(F16),
            Format::Q8 => session!(Q8),
            Format::Q8Dsp => session!(Q8Dsp),
            Format::Q4 => session!(Q4),
            format => unreachable!("no session for {}", format.name()),
        };
        let threads = rayon::current_thread_index().map_or(1, |_| rayon::current_num_threads());
        each!(&mut session, session => session.set_threads(threads));
        Ok(session)
    }

    /// As [`Session::forward`].
    ///
    /// # Errors
    /// As [`Session::forward`].
    pub fn forward(&mut self, tokens: &[u32]) -> Result<&mut [f32], SessionError> {
        each!(self, session => session.forward(tokens))
    }

    /// As [`Session::forward_each`].
    ///
    /// # Errors
    /// As [`Session::forward`].
    pub fn forward_each(
        &mut self,
        tokens: &[u32],
        each: impl FnMut(usize, &[f32]),
    ) -> Result<(), SessionError> {
        each!(self, session => session.forward_each(tokens, each))
    }

    /// As [`Session::slide`].
    ///
    /// # Errors
    /// As [`Session::forward`].
    pub fn slide(
        &mut self,
        history: &mut [u32],
        n_keep: usize,
    ) -> Result<(usize, &mut [f32]), SessionError> {
        each!(self, session => session.slide(history, n_keep))
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        each!(self, session => session.reset());
    }

    /// Forgets all but the first `n_tokens` tokens.
    pub fn truncate(&mut self, n_tokens: usize) {
        each!(self, session => session.truncate(n_tokens));
    }

    /// Tokens in the context.
    #[must_use]
    pub fn position(&self) -> usize {
        each!(self, session => session.position())
    }

    /// Longest context in tokens.
    #[must_use]
    pub fn n_ctx(&self) -> usize {
        each!(self, session => session.n_ctx())
    }

    /// The kernels in use.
    #[must_use]
    pub fn isa(&self) -> Isa {
        each!(self, session => session.isa())
    }
}
