//! A model in its session, and the texts it makes.

use minigpt_runtime::{
    MemoryPlan, Model, ModelFile, Sampler, SamplerError, SamplerOptions, Session, SessionError,
    StreamDecoder,
};

use crate::Weights;
use crate::board;
use crate::command::{self, Command, HELP, Settings};
use crate::console::{self, Hex, Thousandths, is_stopped, parts, say, tell};
use crate::hardware::{Chip, Hardware};
use crate::line::MAX_LINE;
use crate::number::divide;
use crate::options::SESSION;
use crate::stack;

/// Most tokens of a prompt: one a byte, the start token, and the space that a tokenizer may add.
const MAX_PROMPT: usize = MAX_LINE + 2;

/// Largest top-k.
const MAX_TOP_K: usize = 64;

/// A sampler, or why there is none.
pub(crate) fn sampler(options: SamplerOptions) -> Result<Sampler<MAX_TOP_K>, SamplerError> {
    Sampler::new(options)
}

/// The model and how it is to tell.
pub(crate) struct Teller<'a> {
    file: &'a ModelFile<'a>,
    session: Session<'a, Weights>,
    arena_bytes: u64,
    settings: Settings,
}

impl<'a> Teller<'a> {
    /// With the longest context that fits into `arena`.
    #[inline(never)]
    pub(crate) fn new(
        file: &'a ModelFile<'a>,
        model: Model<'a, Weights>,
        arena: &'a mut [u8],
    ) -> Result<Self, SessionError> {
        let (config, format) = (file.config(), file.format());
        let options = SESSION.fitted(config, format, arena.len() as u64);
        Ok(Self {
            file,
            session: Session::new(model, arena, &options)?,
            arena_bytes: MemoryPlan::new(config, format, &options).total(),
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
            Ok(Command::Help) => say!(HELP),
            Err(error) => say!("error: ", error),
        }
    }

    /// Writes `prompt` and what the model adds to it.
    #[inline(never)]
    fn continue_text(&mut self, prompt: &str) {
        let mut tokens = [0; MAX_PROMPT];
        let tokenizer = self.file.tokenizer();
        let n = match tokenizer.encode_prompt(prompt.as_bytes(), &mut tokens) {
            Ok(n) => n,
            Err(error) => return say!("error: ", error),
        };
        let mut sampler = match sampler(self.settings.sampling) {
            Ok(sampler) => sampler,
            Err(error) => return say!("error: ", error),
        };
        let n_ctx = self.session.n_ctx();
        if n > n_ctx {
            let (position, added) = (0, n);
            return say!(
                "error: ",
                SessionError::ContextFull {
                    n_ctx,
                    position,
                    added
                }
            );
        }
        self.session.reset();
        let mut decoder = StreamDecoder::new();
        decoder.push_bytes(prompt.as_bytes(), &mut tell);
        let mut watch = Stopwatch::start();
        let prompt = tokens.get(..n).unwrap_or_default();
        let (made, why) = self.generate(prompt, &mut sampler, &mut decoder, &mut watch);
        decoder.finish(&mut tell);
        tell("\n");
        self.report(&watch, n, made, why);
    }

    /// Writes what follows `prompt`; how many tokens it made, and why it stopped if it was not at the
    /// end.
    #[inline(never)]
    fn generate(
        &mut self,
        prompt: &[u32],
        sampler: &mut Sampler<MAX_TOP_K>,
        decoder: &mut StreamDecoder,
        watch: &mut Stopwatch,
    ) -> (usize, &'static str) {
        let tokenizer = self.file.tokenizer();
        let (mut next, mut input) = ([0], prompt);
        for made in 0..self.settings.max_tokens {
            if is_stopped() {
                return (made, ", stopped");
            }
            let Ok(logits) = self.session.forward(input) else {
                return (made, ", then the context was full");
            };
            let token = sampler.sample(logits.get_mut(..tokenizer.n_vocab()).unwrap_or_default());
            watch.lap();
            if tokenizer.specials().is_end(token) {
                return (made + 1, "");
            }
            // The sampler saw the tokenizer's tokens only.
            let _ = decoder.push(tokenizer, token, &mut tell);
            next[0] = token;
            input = &next;
        }
        (self.settings.max_tokens, "")
    }

    /// Says who is there.
    pub(crate) fn greet(&self) {
        if Chip::TERMINAL {
            let name = self.file.header().metadata.name;
            say!(
                "minigpt on ",
                board::NAME,
                ", model ",
                name,
                ". Begin a text; Ctrl-C stops it. /help lists commands."
            );
        }
    }

    #[inline(never)]
    fn info(&self) {
        let model = self.file;
        say!(
            "board ",
            board::NAME,
            ", ",
            board::CLOCK_HZ,
            " Hz; context ",
            self.session.n_ctx(),
            " of ",
            model.config().n_ctx(),
            " tokens; arena ",
            self.arena_bytes,
            " of ",
            board::ARENA_BYTES,
            " bytes; stack used ",
            stack::high_water(),
            " of ",
            board::STACK_BYTES,
            "; model ",
            model.header().metadata.name,
            ", ",
            model.format().name(),
            ", ",
            model.len(),
            " bytes of ",
            board::MODEL.1,
            " at ",
            Hex(board::MODEL.0),
        );
        self.say_settings();
    }

    fn say_settings(&self) {
        let sampling = &self.settings.sampling;
        say!(
            "temperature ",
            Thousandths(sampling.temperature),
            ", top-k ",
            sampling.top_k.unwrap_or(0),
            ", top-p ",
            Thousandths(sampling.top_p),
            ", seed ",
            sampling.seed,
            ", max-tokens ",
            self.settings.max_tokens,
        );
    }

    /// Says how long `n` tokens of prompt and `made` new ones took, `why` they ended, and the memory.
    #[inline(never)]
    fn report(&self, watch: &Stopwatch, n: usize, made: usize, why: &str) {
        let (ticks, hz) = (watch.ticks.max(1), u64::from(board::COUNTER_HZ));
        let passes = (n + made).saturating_sub(1) as u64;
        let (tenths, _) = divide(passes.saturating_mul(10 * hz), ticks);
        let (milliseconds, _) = divide(ticks.saturating_mul(1000), hz);
        let (rate, tenth) = divide(tenths, 10);
        let stack = stack::high_water();
        console::begin();
        parts!(made, " tokens after ", n, " of prompt", why);
        if hz > 0 {
            parts!(" in ", milliseconds, " ms, ", rate, ".", tenth, " a second");
        }
        parts!(
            "; stack ",
            stack,
            " of ",
            board::STACK_BYTES,
            " bytes, arena ",
            self.arena_bytes,
            " of ",
            board::ARENA_BYTES,
            " bytes",
        );
        console::end();
        if stack == board::STACK_BYTES {
            say!(
                "error: the stack was too small, so nothing here can be trusted; raise `stack` in the board file"
            );
        }
    }
}

/// Adds up what the counter counts, which may go round between texts, but not within a token.
struct Stopwatch {
    last: u32,
    ticks: u64,
}

impl Stopwatch {
    fn start() -> Self {
        let last = board::COUNTER.ticks();
        Self { last, ticks: 0 }
    }

    fn lap(&mut self) {
        let now = board::COUNTER.ticks();
        self.ticks += u64::from(now.wrapping_sub(self.last));
        self.last = now;
    }
}
