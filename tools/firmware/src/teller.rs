//! A model in its session, and the texts it makes.

use minigpt_runtime::{
    Model, ModelFile, Q8, Sampler, SamplerError, SamplerOptions, Session, SessionError,
    StreamDecoder, Tokenizer, tokenizer::TokenizeError,
};

use crate::board;
use crate::command::{self, Command, CommandError, Settings};
use crate::console::{say, tell};
use crate::options::SESSION;
use crate::stack;

/// Most tokens of a prompt.
const MAX_PROMPT: usize = 128;

/// Largest top-k.
const MAX_TOP_K: usize = 64;

/// A sampler, or why there is none.
pub(crate) fn sampler(options: SamplerOptions) -> Result<Sampler<MAX_TOP_K>, SamplerError> {
    Sampler::new(options)
}

/// The model and how it is to tell.
pub(crate) struct Teller<'a> {
    tokenizer: &'a Tokenizer<'a>,
    session: Session<'a, Q8>,
    arena_bytes: u64,
    settings: Settings,
}

impl<'a> Teller<'a> {
    /// With the longest context that fits into `arena`.
    pub(crate) fn new(
        file: &'a ModelFile<'a>,
        model: Model<'a, Q8>,
        arena: &'a mut [u8],
    ) -> Result<Self, SessionError> {
        let options = SESSION.fitted(file.config(), file.format(), arena.len() as u64);
        let plan = minigpt_runtime::MemoryPlan::new(file.config(), file.format(), &options);
        Ok(Self {
            tokenizer: file.tokenizer(),
            session: Session::new(model, arena, &options)?,
            arena_bytes: plan.total(),
            settings: Settings::START,
        })
    }

    /// Does what a line asks for.
    pub(crate) fn answer(&mut self, line: &str) {
        let Some(command) = line.strip_prefix('/') else {
            return self.continue_text(line);
        };
        match command::parse(command, self.settings) {
            Ok(Command::Set(settings)) => self.settings = settings,
            Ok(Command::Begin) => self.continue_text(""),
            Ok(Command::Info) => self.info(),
            Err(error) => say!("error: {error}"),
        }
    }

    /// Writes `prompt` and what the model adds to it.
    fn continue_text(&mut self, prompt: &str) {
        let mut tokens = [0; MAX_PROMPT];
        let n = match self.encode(prompt, &mut tokens) {
            Ok(n) => n,
            Err(error) => return say!("error: the prompt: {error}"),
        };
        let mut sampler = match sampler(self.settings.sampling) {
            Ok(sampler) => sampler,
            Err(error) => return say!("error: {}", CommandError::Sampler(error)),
        };
        self.session.reset();
        let mut decoder = StreamDecoder::new();
        decoder.push_bytes(prompt.as_bytes(), &mut tell);
        let start = board::COUNTER.ticks();
        let mut input = tokens.get(..n).unwrap_or_default();
        let mut next;
        let mut made = 0;
        while made < self.settings.max_tokens {
            let n_vocab = self.tokenizer.n_vocab();
            let logits = match self.session.forward(input) {
                Ok(logits) => logits,
                Err(SessionError::ContextFull { .. }) if made > 0 => break,
                Err(error) => return say!("error: {error}"),
            };
            let token = sampler.sample(logits.get_mut(..n_vocab).unwrap_or_default());
            made += 1;
            let specials = self.tokenizer.specials();
            if specials.eos == Some(token) || specials.bos == Some(token) {
                break;
            }
            // The sampler saw the tokenizer's tokens only.
            let _ = decoder.push(self.tokenizer, token, &mut tell);
            next = [token];
            input = &next;
        }
        decoder.finish(&mut tell);
        tell("\n");
        report(start, n, made);
    }

    /// The start token, if there is one, and the tokens of `prompt`; their number.
    fn encode(&self, prompt: &str, tokens: &mut [u32]) -> Result<usize, TokenizeError> {
        let bos = self.tokenizer.specials().bos;
        let n = usize::from(bos.is_some() || prompt.is_empty());
        if let Some(first) = tokens.first_mut() {
            *first = bos.unwrap_or(0);
        }
        let rest = tokens.get_mut(n..).unwrap_or_default();
        Ok(n + self.tokenizer.encode(prompt.as_bytes(), rest)?)
    }

    fn info(&self) {
        let config = self.session.model().config();
        say!(
            "board {}, {} Hz; context {} of {} tokens; arena {} of {} bytes; stack used {} of {}",
            board::NAME,
            board::CLOCK_HZ,
            self.session.n_ctx(),
            config.n_ctx(),
            self.arena_bytes,
            board::ARENA_BYTES,
            stack::high_water(),
            board::STACK_BYTES
        );
    }
}

/// Says how long `n` tokens of prompt and `made` new ones took since `start`.
fn report(start: u32, n: usize, made: usize) {
    let ticks = u64::from(board::COUNTER.ticks().wrapping_sub(start));
    let stack = stack::high_water();
    match board::COUNTER_HZ {
        0 => say!("{made} tokens after {n} of prompt; stack {stack} bytes"),
        hz => {
            let milliseconds = ticks * 1000 / u64::from(hz);
            let per_minute = made as u64 * 60_000 / milliseconds.max(1);
            say!(
                "{made} tokens after {n} of prompt in {milliseconds} ms, {per_minute} a minute; stack {stack} bytes"
            );
        }
    }
}
