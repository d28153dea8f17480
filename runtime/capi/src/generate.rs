//! Texts, made piece by piece.

use core::ffi::{c_char, c_void};

use minigpt_runtime::{StreamDecoder, Tokenizer};

use crate::model::ModelRef;
use crate::object::{self, Busy};
use crate::options::{self, GenerateOptions, Generated, Room};
use crate::pointers;
use crate::sampler::{OpenSampler, SamplerHandle};
use crate::session::{self, OpenSession, SessionHandle};
use crate::status::{Status, status};

/// `minigpt_on_text`; none is NULL.
pub type OnText = Option<unsafe extern "C" fn(*mut c_void, *const c_char, usize) -> i32>;

/// Tokens where the options say 0.
const MAX_TOKENS: u32 = 256;

impl GenerateOptions {
    const fn max_tokens(&self) -> u32 {
        match self.max_tokens {
            0 => MAX_TOKENS,
            given => given,
        }
    }
}

/// Why a text ended: the `MINIGPT_STOP_` numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Stop {
    EndOfText = 1,
    MaxTokens = 2,
    Callback = 3,
    Context = 4,
}

/// Where text goes, until it wants no more.
struct Sink {
    call: unsafe extern "C" fn(*mut c_void, *const c_char, usize) -> i32,
    user: *mut c_void,
    stopped: bool,
}

impl Sink {
    const fn new(
        call: unsafe extern "C" fn(*mut c_void, *const c_char, usize) -> i32,
        user: *mut c_void,
    ) -> Self {
        let stopped = false;
        Self {
            call,
            user,
            stopped,
        }
    }

    fn write(&mut self, text: &str) {
        if !self.stopped {
            // SAFETY: the caller promises a function of this type; `text` is valid during the call.
            let answer = unsafe { (self.call)(self.user, text.as_ptr().cast(), text.len()) };
            self.stopped = answer != 0;
        }
    }
}

/// A text in the making.
struct Writer<'a> {
    open: &'a mut OpenSession,
    model: ModelRef,
    sampler: &'a mut OpenSampler,
    tokenizer: &'a Tokenizer<'a>,
    decoder: StreamDecoder,
    /// Tokens so far, those of a context at most, and room for more.
    history: &'a mut [u32],
    n: usize,
    sink: Sink,
}

impl Writer<'_> {
    /// Continues the history by up to `max_tokens` tokens; their number and why it ended.
    fn write(&mut self, max_tokens: u32) -> Result<(u32, Stop), Status> {
        let mut made = 0;
        while made < max_tokens {
            if self.sink.stopped {
                return Ok((made, Stop::Callback));
            }
            // SAFETY: `minigpt_generate` was promised it; the callback may have closed it.
            unsafe { self.model.get() }?;
            let Some(token) = self.next()? else {
                return Ok((made, Stop::Context));
            };
            made += 1;
            if self.tokenizer.specials().is_end(token) {
                return Ok((made, Stop::EndOfText));
            }
            let sink = &mut self.sink;
            self.decoder
                .push(self.tokenizer, token, &mut |text| sink.write(text))?;
            let Some(slot) = self.history.get_mut(self.n) else {
                return Ok((made, Stop::Context));
            };
            *slot = token;
            self.n += 1;
        }
        let stop = match self.sink.stopped {
            true => Stop::Callback,
            false => Stop::MaxTokens,
        };
        Ok((made, stop))
    }

    /// The token behind the history, which is shortened where it has outgrown the context; none where
    /// there is no room for that.
    fn next(&mut self) -> Result<Option<u32>, Status> {
        let session = &mut self.open.session;
        let (position, n_ctx) = (session.position(), session.n_ctx());
        let history = self.history.get_mut(..self.n).unwrap_or_default();
        let logits = if position < n_ctx {
            session.forward(history.get(position..).unwrap_or_default())?
        } else if n_ctx > 1 {
            let n_keep = usize::from(self.tokenizer.specials().bos.is_some());
            let (kept, logits) = session.slide(history, n_keep)?;
            self.n = kept;
            logits
        } else {
            return Ok(None);
        };
        // A model may have more rows than its tokenizer has tokens: they stand for no text.
        let n_tokens = self.tokenizer.n_vocab();
        let logits = logits.get_mut(..n_tokens).unwrap_or_default();
        Ok(Some(self.sampler.0.sample(logits)))
    }
}

/// Continues a prompt.
///
/// # Safety
/// As the crate says; `on_text` is such a function and does not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minigpt_generate(
    session: *mut SessionHandle,
    sampler: *mut SamplerHandle,
    options: *const GenerateOptions,
    prompt: *const c_char,
    prompt_bytes: usize,
    history: *mut u32,
    max_history: usize,
    on_text: OnText,
    user: *mut c_void,
    generated: *mut Generated,
) -> i32 {
    status(|| {
        // SAFETY: the caller promises it.
        let open = unsafe { session::live_mut(session) }?;
        // SAFETY: the caller promises it.
        let sampling: &mut OpenSampler = unsafe { object::get_mut(sampler) }?;
        // SAFETY: the caller promises it.
        let options = unsafe { options::read(options) }?;
        // SAFETY: the caller promises it.
        let prompt = unsafe { pointers::array(prompt.cast::<u8>(), prompt_bytes) }?;
        // SAFETY: the caller promises it.
        let history = unsafe { pointers::array_mut(history, max_history) }?;
        // SAFETY: the caller promises it.
        let room = unsafe { Room::new(generated) }?;
        let call = on_text.ok_or(Status::Null)?;
        // SAFETY: the caller promises it.
        let _session = unsafe { Busy::new::<OpenSession>(session) }?;
        // SAFETY: the caller promises it.
        let _sampler = unsafe { Busy::new::<OpenSampler>(sampler) }?;
        let sink = Sink::new(call, user);
        let told = tell(open, sampling, &options, prompt, history, sink)?;
        if let Some(room) = room {
            room.write(&told);
        }
        Ok(())
    })
}

/// [`minigpt_generate`] on what its pointers point to.
fn tell(
    open: &mut OpenSession,
    sampler: &mut OpenSampler,
    options: &GenerateOptions,
    prompt: &[u8],
    history: &mut [u32],
    mut sink: Sink,
) -> Result<Generated, Status> {
    let model = open.model;
    // SAFETY: `minigpt_generate` was promised it.
    let file = unsafe { model.get() }?.file;
    let tokenizer = file.tokenizer();
    let n = tokenizer.encode_prompt(prompt, history)?;
    if n > open.session.n_ctx() {
        return Err(Status::ContextFull);
    }
    open.session.reset();
    let mut decoder = StreamDecoder::new();
    let echo = options.echo != 0;
    // Without echo too the decoder sees the prompt, whose last character may not be whole.
    decoder.push_bytes(prompt, &mut |text| {
        if echo {
            sink.write(text);
        }
    });
    let mut writer = Writer {
        open,
        model,
        sampler,
        tokenizer,
        decoder,
        history,
        n,
        sink,
    };
    let (n_tokens, stop) = writer.write(options.max_tokens())?;
    let sink = &mut writer.sink;
    writer.decoder.finish(&mut |text| sink.write(text));
    Ok(Generated {
        size: 0,
        stop: stop as u32,
        n_prompt: n as u32,
        n_tokens,
    })
}
