//! A session on a file of any format that is built in.

#[cfg(feature = "f16")]
use minigpt_runtime::F16;
#[cfg(feature = "f32")]
use minigpt_runtime::F32;
#[cfg(feature = "q4")]
use minigpt_runtime::Q4;
#[cfg(feature = "q8")]
use minigpt_runtime::Q8;
#[cfg(feature = "q8-dsp")]
use minigpt_runtime::Q8Dsp;
use minigpt_runtime::{Format, Isa, ModelFile, Session, SessionError, SessionOptions};

use crate::status::Status;

/// A session whose format was known only when the file was opened.
pub(crate) enum AnySession<'a> {
    #[cfg(feature = "f32")]
    F32(Session<'a, F32>),
    #[cfg(feature = "f16")]
    F16(Session<'a, F16>),
    #[cfg(feature = "q8")]
    Q8(Session<'a, Q8>),
    #[cfg(feature = "q8-dsp")]
    Q8Dsp(Session<'a, Q8Dsp>),
    #[cfg(feature = "q4")]
    Q4(Session<'a, Q4>),
}

/// Calls the same method on whichever session it is.
macro_rules! each {
    ($any:expr, $session:ident => $call:expr) => {
        match $any {
            #[cfg(feature = "f32")]
            Self::F32($session) => $call,
            #[cfg(feature = "f16")]
            Self::F16($session) => $call,
            #[cfg(feature = "q8")]
            Self::Q8($session) => $call,
            #[cfg(feature = "q8-dsp")]
            Self::Q8Dsp($session) => $call,
            #[cfg(feature = "q4")]
            Self::Q4($session) => $call,
        }
    };
}

/// The formats that are built in.
const BUILT: &[Format] = &[
    #[cfg(feature = "f32")]
    Format::F32,
    #[cfg(feature = "f16")]
    Format::F16,
    #[cfg(feature = "q8")]
    Format::Q8,
    #[cfg(feature = "q8-dsp")]
    Format::Q8Dsp,
    #[cfg(feature = "q4")]
    Format::Q4,
];

/// Whether sessions on weights of `format` are built in.
pub(crate) fn is_built(format: Format) -> bool {
    BUILT.contains(&format)
}

impl<'a> AnySession<'a> {
    pub(crate) fn new(
        file: &ModelFile<'a>,
        memory: &'a mut [u8],
        options: &SessionOptions,
    ) -> Result<Self, Status> {
        Ok(match file.format() {
            #[cfg(feature = "f32")]
            Format::F32 => Self::F32(Session::new(file.model()?, memory, options)?),
            #[cfg(feature = "f16")]
            Format::F16 => Self::F16(Session::new(file.model()?, memory, options)?),
            #[cfg(feature = "q8")]
            Format::Q8 => Self::Q8(Session::new(file.model()?, memory, options)?),
            #[cfg(feature = "q8-dsp")]
            Format::Q8Dsp => Self::Q8Dsp(Session::new(file.model()?, memory, options)?),
            #[cfg(feature = "q4")]
            Format::Q4 => Self::Q4(Session::new(file.model()?, memory, options)?),
            _ => return Err(Status::FileFormat),
        })
    }

    pub(crate) fn forward(&mut self, tokens: &[u32]) -> Result<&mut [f32], SessionError> {
        each!(self, session => session.forward(tokens))
    }

    pub(crate) fn begin(&mut self, tokens: &[u32]) -> Result<(), SessionError> {
        each!(self, session => session.begin(tokens))
    }

    pub(crate) fn step(&mut self, budget: usize) -> Result<Option<&mut [f32]>, SessionError> {
        each!(self, session => session.step(budget))
    }

    pub(crate) fn slide(
        &mut self,
        history: &mut [u32],
        n_keep: usize,
    ) -> Result<(usize, &mut [f32]), SessionError> {
        each!(self, session => session.slide(history, n_keep))
    }

    pub(crate) fn truncate(&mut self, n_tokens: usize) {
        each!(self, session => session.truncate(n_tokens));
    }

    pub(crate) fn reset(&mut self) {
        each!(self, session => session.reset());
    }

    pub(crate) fn position(&self) -> usize {
        each!(self, session => session.position())
    }

    pub(crate) fn n_ctx(&self) -> usize {
        each!(self, session => session.n_ctx())
    }

    pub(crate) fn isa(&self) -> Isa {
        each!(self, session => session.isa())
    }
}
