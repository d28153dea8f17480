//! The whole model once more: `f64`, one loop per formula, nothing shared with what it judges but
//! the order of the tensors.

use minigpt_runtime::config::{Config, Mlp, Norm, Positions};
use minigpt_runtime::layout::{self, Tensor, TensorId};

/// What dropout multiplies with: `(site, element) -> factor`. Site 0 is the embedding, `1 + 2 l`
/// and `2 + 2 l` are attention and MLP of layer `l`; elements count through `[B, T, C]`.
pub type Mask<'a> = &'a dyn Fn(usize, usize) -> f64;

/// A model with parameters in `f64`.
#[derive(Clone, Copy)]
pub struct Reference<'a> {
    /// Its shape.
    pub config: &'a Config,
    /// Its parameters, in the order of [`layout::tensors`].
    pub params: &'a [Vec<f64>],
    /// Dropout, if any.
    pub mask: Option<Mask<'a>>,
}

impl Reference<'_> {
    /// Mean of `-ln p(target)` in nats over the targets that are below `n_vocab`.
    ///
    /// # Shapes
    /// `tokens`, `targets` `[B, n_time]`.
    #[must_use]
    pub fn loss(&self, tokens: &[u32], targets: &[u32], n_time: usize) -> f64 {
        let n_vocab = self.config.n_vocab();
        let (mut sum, mut count) = (0.0, 0.0);
        let logits = self.logits(tokens, n_time);
        for (row, &target) in logits.chunks_exact(n_vocab).zip(targets) {
            if (target as usize) < n_vocab {
                sum += log_sum_exp(row) - row[target as usize];
                count += 1.0;
            }
        }
        sum / count
    }

    /// Logits `[B, n_time, V]` of `tokens` `[B, n_time]`.
    #[must_use]
    pub fn logits(&self, tokens: &[u32], n_time: usize) -> Vec<f64> {
        let sequences = tokens.chunks_exact(n_time).enumerate();
        sequences
            .flat_map(|(b, tokens)| self.sequence(tokens, b * n_time))
            .collect()
    }

    /// Logits of one sequence whose first token is number `first` of the batch.
    fn sequence(&self, tokens: &[u32], first: usize) -> Vec<f64> {
        let (config, width) = (self.config, self.config.n_embd());
        let mut stream: Vec<Vec<f64>> = (0..tokens.len())
            .map(|t| self.drop(self.embed(tokens[t], t), 0, first + t))
            .collect();
        for layer in 0..config.n_layer() {
            let normed: Vec<_> = self.norms(&stream, [Tensor::Ln1Weight, Tensor::Ln1Bias], layer);
            let attended = self.attention(&normed, layer);
            for (t, x) in stream.iter_mut().enumerate() {
                let names = [Tensor::AttnProjWeight, Tensor::AttnProjBias];
                let y = self.linear(&attended[t], names, layer);
                add(x, &self.drop(y, 1 + 2 * layer, first + t));
            }
            let normed = self.norms(&stream, [Tensor::Ln2Weight, Tensor::Ln2Bias], layer);
            for (t, x) in stream.iter_mut().enumerate() {
                let y = self.mlp(&normed[t], layer);
                add(x, &self.drop(y, 2 + 2 * layer, first + t));
            }
        }
        let head = self.get(Tensor::LmHead, 0);
        let head = head.unwrap_or_else(|| self.required(Tensor::Wte, 0));
        let normed = self.norms(&stream, [Tensor::LnFWeight, Tensor::LnFBias], 0);
        let rows = normed.iter();
        rows.flat_map(|x| head.chunks_exact(width).map(|row| inner(row, x)))
            .collect()
    }

    fn embed(&self, token: u32, t: usize) -> Vec<f64> {
        let width = self.config.n_embd();
        let wte = self.required(Tensor::Wte, 0);
        let mut x = wte[token as usize * width..][..width].to_vec();
        match self.config.positions() {
            Positions::Learned => add(&mut x, &self.required(Tensor::Wpe, 0)[t * width..][..width]),
            Positions::Sinusoidal => {
                for i in 0..width / 2 {
                    let angle = t as f64 / 10000f64.powf(2.0 * i as f64 / width as f64);
                    x[2 * i] += angle.sin();
                    x[2 * i + 1] += angle.cos();
                }
            }
            _ => {}
        }
        x
    }

    fn norms(&self, stream: &[Vec<f64>], names: [Tensor; 2], layer: usize) -> Vec<Vec<f64>> {
        stream.iter().map(|x| self.norm(x, names, layer)).collect()
    }

    fn norm(&self, x: &[f64], [weight, bias]: [Tensor; 2], layer: usize) -> Vec<f64> {
        let (n, weight) = (x.len() as f64, self.required(weight, layer));
        let mean = match self.config.norm() {
            Norm::RmsNorm => 0.0,
            _ => x.iter().sum::<f64>() / n,
        };
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let mut out: Vec<f64> = (0..x.len())
            .map(|i| (x[i] - mean) / (variance + 1e-5).sqrt() * weight[i])
            .collect();
        if let Some(bias) = self.get(bias, layer) {
            add(&mut out, bias);
        }
        out
    }

    /// Outputs of all heads, before the projection.
    fn attention(&self, normed: &[Vec<f64>], layer: usize) -> Vec<Vec<f64>> {
        let config = self.config;
        let (width, size, n_kv) = (config.n_embd(), config.head_size(), config.n_kv());
        let names = [Tensor::CAttnWeight, Tensor::CAttnBias];
        let mut qkv: Vec<Vec<f64>> = normed
            .iter()
            .map(|x| self.linear(x, names, layer))
            .collect();
        if config.positions() == Positions::Rope {
            for (t, row) in qkv.iter_mut().enumerate() {
                for head in row[..width + n_kv].chunks_exact_mut(size) {
                    rotate(head, t, f64::from(config.rope_theta()));
                }
            }
        }
        let group = config.n_head() / config.n_head_kv();
        let mut out = vec![vec![0.0; width]; normed.len()];
        for head in 0..config.n_head() {
            let (q, k) = (head * size, width + head / group * size);
            let v = k + n_kv;
            for t in 0..normed.len() {
                let query = &qkv[t][q..q + size];
                let score = |s: usize| inner(query, &qkv[s][k..k + size]) / (size as f64).sqrt();
                let scores: Vec<f64> = (0..=t).map(score).collect();
                let total = log_sum_exp(&scores);
                for (s, score) in scores.iter().enumerate() {
                    for i in 0..size {
                        out[t][q + i] += (score - total).exp() * qkv[s][v + i];
                    }
                }
            }
        }
        out
    }

    fn mlp(&self, x: &[f64], layer: usize) -> Vec<f64> {
        let fc = self.linear(x, [Tensor::CFcWeight, Tensor::CFcBias], layer);
        let n_ff = self.config.n_ff();
        let hidden: Vec<f64> = match self.config.mlp() {
            Mlp::Relu => fc.iter().map(|x| x.max(0.0)).collect(),
            Mlp::ReluSquared => fc.iter().map(|x| x.max(0.0).powi(2)).collect(),
            Mlp::Gelu => fc.iter().map(|x| gelu(*x)).collect(),
            Mlp::Swiglu => (0..n_ff)
                .map(|i| fc[i] / (1.0 + (-fc[i]).exp()) * fc[n_ff + i])
                .collect(),
            other => panic!("no formula for {other:?}"),
        };
        self.linear(&hidden, [Tensor::MlpProjWeight, Tensor::MlpProjBias], layer)
    }

    fn linear(&self, x: &[f64], [weight, bias]: [Tensor; 2], layer: usize) -> Vec<f64> {
        let rows = self.required(weight, layer).chunks_exact(x.len());
        let mut out: Vec<f64> = rows.map(|row| inner(row, x)).collect();
        if let Some(bias) = self.get(bias, layer) {
            add(&mut out, bias);
        }
        out
    }

    fn drop(&self, mut x: Vec<f64>, site: usize, row: usize) -> Vec<f64> {
        if let Some(mask) = self.mask {
            let width = x.len();
            for (i, x) in x.iter_mut().enumerate() {
                *x *= mask(site, row * width + i);
            }
        }
        x
    }

    fn get(&self, tensor: Tensor, layer: usize) -> Option<&[f64]> {
        let id = TensorId::new(tensor, layer);
        layout::spec(self.config, id)?;
        Some(&self.params[layout::index(self.config, id)])
    }

    fn required(&self, tensor: Tensor, layer: usize) -> &[f64] {
        self.get(tensor, layer).expect("the layout has this tensor")
    }
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(x: &mut [f64], y: &[f64]) {
    assert_eq!(x.len(), y.len());
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

fn log_sum_exp(x: &[f64]) -> f64 {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = x.iter().map(|x| (x - largest).exp()).sum();
    largest + sum.ln()
}

fn gelu(x: f64) -> f64 {
    let inner = (2.0 / core::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    0.5 * x * (1.0 + inner.tanh())
}

fn rotate(head: &mut [f64], t: usize, theta: f64) {
    let size = head.len() as f64;
    for (i, pair) in head.chunks_exact_mut(2).enumerate() {
        let angle = t as f64 * theta.powf(-2.0 * i as f64 / size);
        let (x, y) = (pair[0], pair[1]);
        pair[0] = x * angle.cos() - y * angle.sin();
        pair[1] = x * angle.sin() + y * angle.cos();
    }
}
