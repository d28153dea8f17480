//! A forward pass that shows its attention.
//!
//! The session keeps no weights of attention, and boards should not pay for what people look at on a desktop:
//! so this is the pass once more, plainly, in `f32` on the values that the file stores, all tokens at once. A
//! test holds its logits against the session's.

use minigpt_runtime::config::{Config, Mlp, Norm, Positions};
use minigpt_runtime::layout::{Tensor, TensorId};
use minigpt_runtime::{ModelFile, math, ops};
use minigpt_trainer::inference::read_rows;

/// What was seen.
pub(super) struct Seen {
    /// Of each layer and head `[T, T]`: a row is a token that looks.
    pub(super) layers: Vec<Vec<Vec<f32>>>,
    /// Behind the last token `[V]`.
    pub(super) logits: Vec<f32>,
}

/// Rows of values, a row a token.
type Rows = Vec<Vec<f32>>;

/// Runs `tokens`, which fit into the context, through the model.
pub(super) fn run(file: &ModelFile<'_>, tokens: &[u32]) -> Seen {
    let pass = Pass {
        file,
        config: file.config(),
    };
    let mut x = pass.embedding(tokens);
    let mut layers = Vec::with_capacity(pass.config.n_layer());
    for layer in 0..pass.config.n_layer() {
        let input = pass.norm(&x, layer, Tensor::Ln1Weight, Tensor::Ln1Bias);
        let qkv = pass.linear(&input, layer, Tensor::CAttnWeight, Tensor::CAttnBias);
        let (heads, weights) = pass.attention(qkv);
        layers.push(weights);
        add(
            &mut x,
            &pass.linear(&heads, layer, Tensor::AttnProjWeight, Tensor::AttnProjBias),
        );
        let input = pass.norm(&x, layer, Tensor::Ln2Weight, Tensor::Ln2Bias);
        let hidden = pass.linear(&input, layer, Tensor::CFcWeight, Tensor::CFcBias);
        let hidden: Rows = hidden.iter().map(|row| pass.activation(row)).collect();
        add(
            &mut x,
            &pass.linear(&hidden, layer, Tensor::MlpProjWeight, Tensor::MlpProjBias),
        );
    }
    let last = x.split_off(x.len() - 1);
    let last = pass.norm(&last, 0, Tensor::LnFWeight, Tensor::LnFBias);
    let head = match pass.config.tied_head() {
        true => Tensor::Wte,
        false => Tensor::LmHead,
    };
    let mut logits = Vec::with_capacity(pass.config.n_vocab());
    pass.rows(0, head, |_, row| logits.push(ops::dot(row, &last[0])));
    Seen { layers, logits }
}

struct Pass<'f> {
    file: &'f ModelFile<'f>,
    config: &'f Config,
}

impl Pass<'_> {
    fn rows(&self, layer: usize, tensor: Tensor, each: impl FnMut(usize, &[f32])) {
        read_rows(self.file, TensorId::new(tensor, layer), each);
    }

    /// A vector; none if this configuration has none.
    fn vector(&self, layer: usize, tensor: Tensor) -> Option<Vec<f32>> {
        let mut vector = None;
        self.rows(layer, tensor, |_, row| vector = Some(row.to_vec()));
        vector
    }

    fn embedding(&self, tokens: &[u32]) -> Rows {
        let n_embd = self.config.n_embd();
        let mut x = vec![vec![0.0; n_embd]; tokens.len()];
        self.rows(0, Tensor::Wte, |id, row| {
            let here = x
                .iter_mut()
                .zip(tokens)
                .filter(|(_, token)| **token as usize == id);
            here.for_each(|(x, _)| x.copy_from_slice(row));
        });
        let mut position = vec![0.0; n_embd];
        match self.config.positions() {
            Positions::Learned => self.rows(0, Tensor::Wpe, |t, row| {
                if let Some(x) = x.get_mut(t) {
                    ops::axpy(x, 1.0, row);
                }
            }),
            Positions::Sinusoidal => {
                let mut frequencies = vec![0.0; n_embd / 2];
                ops::frequencies(&mut frequencies, ops::SINUSOID_BASE);
                for (t, x) in x.iter_mut().enumerate() {
                    ops::sinusoid(&mut position, t, &frequencies);
                    ops::axpy(x, 1.0, &position);
                }
            }
            _ => {}
        }
        x
    }

    fn norm(&self, x: &Rows, layer: usize, weight: Tensor, bias: Tensor) -> Rows {
        let weight = self.vector(layer, weight).unwrap_or_default();
        let bias = self.vector(layer, bias);
        let normal = |x: &Vec<f32>| {
            let stats = match self.config.norm() {
                Norm::RmsNorm => (0.0, ops::rms_norm_stats(x)),
                _ => ops::layer_norm_stats(x),
            };
            let mut out = vec![0.0; x.len()];
            ops::normalize(&mut out, x, stats, &weight, bias.as_deref());
            out
        };
        x.iter().map(normal).collect()
    }

    fn linear(&self, x: &Rows, layer: usize, weight: Tensor, bias: Tensor) -> Rows {
        let mut out: Rows = vec![Vec::new(); x.len()];
        self.rows(layer, weight, |_, row| {
            for (out, x) in out.iter_mut().zip(x) {
                out.push(ops::dot(row, x));
            }
        });
        if let Some(bias) = self.vector(layer, bias) {
            out.iter_mut().for_each(|out| ops::axpy(out, 1.0, &bias));
        }
        out
    }

    /// Outputs of all heads `[T, C]`, and the weights of each.
    fn attention(&self, mut qkv: Rows) -> (Rows, Vec<Vec<f32>>) {
        let config = self.config;
        let (n_embd, size, n_kv) = (config.n_embd(), config.head_size(), config.n_kv());
        self.turn(&mut qkv);
        let n = qkv.len();
        let mut out = vec![vec![0.0; n_embd]; n];
        let mut maps = Vec::with_capacity(config.n_head());
        let scale = 1.0 / math::sqrt(size as f32);
        for head in 0..config.n_head() {
            let query = head * size;
            let key = n_embd + head * config.n_head_kv() / config.n_head() * size;
            let mut map = vec![0.0; n * n];
            for t in 0..n {
                let row = &mut map[t * n..][..=t];
                for (s, weight) in row.iter_mut().enumerate() {
                    *weight = ops::dot(&qkv[t][query..][..size], &qkv[s][key..][..size]) * scale;
                }
                ops::softmax(row);
                for (s, weight) in row.iter().enumerate() {
                    ops::axpy(
                        &mut out[t][query..][..size],
                        *weight,
                        &qkv[s][key + n_kv..][..size],
                    );
                }
            }
            maps.push(map);
        }
        (out, maps)
    }

    /// Turns queries and keys by their positions, with rope.
    fn turn(&self, qkv: &mut Rows) {
        if self.config.positions() != Positions::Rope {
            return;
        }
        let size = self.config.head_size();
        let (mut frequencies, mut table) = (vec![0.0; size / 2], vec![0.0; size]);
        ops::frequencies(&mut frequencies, self.config.rope_theta());
        for (t, row) in qkv.iter_mut().enumerate() {
            ops::rope_table(&mut table, t, &frequencies);
            let turned = &mut row[..self.config.n_embd() + self.config.n_kv()];
            turned
                .chunks_exact_mut(size)
                .for_each(|head| ops::rope(head, &table));
        }
    }

    fn activation(&self, x: &[f32]) -> Vec<f32> {
        let each = |function: fn(f32) -> f32| x.iter().map(|x| function(*x)).collect();
        match self.config.mlp() {
            Mlp::Relu => each(ops::relu),
            Mlp::ReluSquared => each(ops::relu_squared),
            Mlp::Swiglu => {
                let (gate, up) = x.split_at(self.config.n_ff());
                gate.iter()
                    .zip(up)
                    .map(|(gate, up)| ops::silu(*gate) * up)
                    .collect()
            }
            _ => each(ops::gelu),
        }
    }
}

fn add(x: &mut Rows, y: &Rows) {
    for (x, y) in x.iter_mut().zip(y) {
        ops::axpy(x, 1.0, y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minigpt_runtime::config::Hyperparameters;
    use minigpt_runtime::format::{Header, Metadata};
    use minigpt_runtime::{Format, KvFormat, SessionOptions, Tokenizer};
    use minigpt_trainer::export::export;
    use minigpt_trainer::inference::{AnySession, arena};
    use minigpt_trainer::params::fresh;

    const SHAPE: Hyperparameters = Hyperparameters {
        n_vocab: 259,
        n_ctx: 12,
        n_embd: 24,
        n_head: 6,
        n_head_kv: 2,
        n_layer: 3,
        n_ff: 33,
        positions: Positions::Rope,
        rope_theta: 1000.0,
        norm: Norm::RmsNorm,
        mlp: Mlp::Swiglu,
        bias: false,
        tied_head: true,
    };

    fn compare(hyperparameters: Hyperparameters, format: Format, tolerance: f32) {
        let header = Header {
            hyperparameters,
            format,
            tokenizer: Tokenizer::Byte,
            metadata: Metadata::default(),
        };
        let config = header.config().unwrap();
        let mut parameters = fresh(&config, 7);
        for (i, value) in parameters.iter_mut().flatten().enumerate() {
            *value += 0.05 * ((i * 37 % 101) as f32 / 101.0 - 0.5); // biases too
        }
        let bytes = export(&header, &parameters).unwrap();
        let file = bytes.file().unwrap();
        let tokens = [72, 101, 108, 108, 111, 255, 0, 72, 101];
        let seen = run(&file, &tokens);
        let options = SessionOptions {
            n_ctx: 0,
            n_chunk: 4,
            kv: KvFormat::F32,
        };
        let mut memory = arena(&file, &options).unwrap();
        let mut session = AnySession::new(&file, memory.bytes_mut(), &options).unwrap();
        let logits = session.forward(&tokens).unwrap();
        let largest = logits.iter().fold(0.0f32, |m, l| m.max(l.abs()));
        for (seen, logit) in seen.logits.iter().zip(logits.iter()) {
            assert!(
                (seen - logit).abs() <= tolerance * largest,
                "{seen} {logit}"
            );
        }
        let n = tokens.len();
        assert_eq!((seen.layers.len(), seen.layers[0].len()), (3, 6));
        for map in seen.layers.iter().flatten() {
            for (t, row) in map.chunks_exact(n).enumerate() {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                assert!(row[t + 1..].iter().all(|weight| *weight == 0.0));
            }
        }
    }

    #[test]
    fn its_logits_are_the_session_s() {
        compare(SHAPE, Format::F32, 1e-5);
        compare(SHAPE, Format::F16, 1e-5);
        // The session rounds activations to integers, too.
        compare(SHAPE, Format::Q8, 0.03);
        compare(SHAPE, Format::Q8Dsp, 0.03);
        let gpt2 = Hyperparameters {
            positions: Positions::Learned,
            norm: Norm::LayerNorm,
            mlp: Mlp::Gelu,
            bias: true,
            tied_head: false,
            n_head_kv: 6,
            ..SHAPE
        };
        compare(gpt2, Format::F32, 1e-5);
        for mlp in [Mlp::Relu, Mlp::ReluSquared] {
            let other = Hyperparameters {
                positions: Positions::Sinusoidal,
                mlp,
                ..gpt2
            };
            compare(other, Format::F32, 1e-5);
        }
    }
}
