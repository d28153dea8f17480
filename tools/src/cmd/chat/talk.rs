//! A model in conversation.

use super::conversation::{Conversation, Role};
use super::stopping;
use super::template::Template;
use crate::failure::{Failure, Outcome};
use crate::generation::prompt::check_length;
use crate::generation::sampling::Sampling;
use crate::generation::teller::{Limits, Stop, Teller, Told};
use crate::output;

/// A model, and what was said.
pub(super) struct Talk<'a> {
    teller: Teller<'a>,
    template: Template,
    sampling: Sampling,
    stops: Vec<String>,
    max_tokens: usize,
    pub(super) conversation: Conversation,
    /// The first message that the model still sees.
    first: usize,
    figures: Figures,
}

/// What `/stats` says.
#[derive(Default)]
struct Figures {
    answers: usize,
    tokens: usize,
    seconds: f64,
    /// Of the last answer.
    rate: f64,
    /// In the context behind the last answer.
    context: usize,
}

/// A conversation in tokens.
struct Written {
    tokens: Vec<u32>,
    /// Those in front that do not depend on the messages.
    n_keep: usize,
}

impl<'a> Talk<'a> {
    pub(super) fn new(
        teller: Teller<'a>,
        template: Template,
        sampling: Sampling,
        stops: Vec<String>,
        max_tokens: usize,
    ) -> Self {
        Self {
            teller,
            template,
            sampling,
            stops,
            max_tokens,
            conversation: Conversation::default(),
            first: 0,
            figures: Figures::default(),
        }
    }

    /// Answers `message`, on standard output. After a failure the message is forgotten.
    pub(super) fn answer(&mut self, message: &str) -> Outcome {
        self.conversation.push(Role::User, message);
        stopping::answering(true);
        let told = self.tell();
        stopping::answering(false);
        let told = told.inspect_err(|_| {
            self.conversation.messages.pop();
        })?;
        let figures = &mut self.figures;
        figures.answers += 1;
        figures.tokens += told.tokens.len();
        figures.seconds += told.seconds;
        figures.rate = told.rate();
        let text = self.template.answer(&told.text).trim_end();
        self.conversation.push(Role::Assistant, text);
        if told.stop == Stop::Interrupted {
            crate::output::say!("\nstopped");
        }
        Ok(())
    }

    fn tell(&mut self) -> Result<Told, Failure> {
        let written = self.written()?;
        let limits = Limits {
            min_tokens: 0,
            max_tokens: self.max_tokens,
            stops: &self.stops,
        };
        let prompt = written.tokens.len();
        let mut begun = String::new();
        let mut printed = 0;
        let template = &self.template;
        let told = self.teller.tell(
            written.tokens,
            (written.n_keep, true),
            &mut self.sampling,
            limits,
            &mut |text| {
                begun.push_str(text);
                // What the template puts in front is not said twice.
                let answer = template.answer(&begun);
                let start = begun.len() - answer.len();
                let new = &begun[printed.max(start)..];
                printed = begun.len();
                output::print(new)
            },
            &stopping::wanted,
        )?;
        let n_ctx = self.teller.sequence.n_ctx();
        self.figures.context = (prompt + told.tokens.len()).min(n_ctx);
        Ok(told)
    }

    /// The conversation, without so many of its first messages that an answer has room.
    fn written(&mut self) -> Result<Written, Failure> {
        let n_ctx = self.teller.sequence.n_ctx();
        let room = n_ctx - self.max_tokens.min(n_ctx / 4);
        let last = self.conversation.messages.len() - 1;
        let mut first = self.first;
        let mut tokens = self.tokens(first)?;
        if tokens.len() > room {
            // To half of the context, so that not every turn begins anew.
            while tokens.len() > n_ctx / 2 && first < last {
                first += 2;
                tokens = self.tokens(first)?;
            }
        }
        let what = match self.conversation.system.is_empty() {
            true => "the message",
            false => "the system text with the message",
        };
        check_length(tokens.len(), n_ctx, n_ctx, what)?;
        let n_keep = self
            .template
            .n_keep(self.teller.tokenizer, &self.conversation)?;
        self.first = first;
        Ok(Written { tokens, n_keep })
    }

    fn tokens(&self, first: usize) -> Result<Vec<u32>, Failure> {
        let messages = self.conversation.since(first);
        self.template.tokens(self.teller.tokenizer, &messages)
    }

    /// Goes on with another conversation.
    pub(super) fn forget(&mut self, conversation: Conversation) {
        self.conversation = conversation;
        self.first = 0;
        self.figures.context = 0;
    }

    pub(super) fn reseed(&mut self, seed: u64) -> Outcome {
        self.sampling = self.sampling.with(self.sampling.temperature(), seed)?;
        Ok(())
    }

    pub(super) fn heat(&mut self, temperature: f32) -> Outcome {
        self.sampling = self.sampling.with(temperature, self.sampling.seed())?;
        Ok(())
    }

    pub(super) fn stats(&self) -> String {
        let Figures {
            answers,
            tokens,
            seconds,
            rate,
            context,
        } = &self.figures;
        format!(
            "{answers} answers, {tokens} tokens in {seconds:.2} s, the last at {rate:.0} tokens/s\n\
             context: {context} of {} tokens; {} messages, the first {} left out\n\
             temperature {}, seed {}, {} kernels",
            self.teller.sequence.n_ctx(),
            self.conversation.messages.len(),
            self.first,
            self.sampling.temperature(),
            self.sampling.seed(),
            self.teller.sequence.isa().name()
        )
    }
}
