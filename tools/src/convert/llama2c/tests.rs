use super::*;

const DIM: usize = 8;
const HIDDEN: usize = 6;
const LAYERS: usize = 3;
const KV: usize = 4;
const VOCAB: usize = 5;
const CONTEXT: usize = 7;

/// A number that tells tensor, layer and index apart.
fn value(kind: usize, layer: usize, index: usize) -> f32 {
    (kind * 10_000 + layer * 1_000 + index) as f32
}

/// A file as `export.py` writes it: kinds in the given order, each `(kind, rows of n, layers)`.
fn file(header: &[u8], order: &[usize], tied: bool, tables: bool) -> Vec<u8> {
    let len = |kind| match kind {
        0 | 11 => VOCAB * DIM,
        1 | 6 | 10 => DIM,
        2 | 5 => DIM * DIM,
        3 | 4 => KV * DIM,
        7..=9 => HIDDEN * DIM,
        _ => unreachable!(),
    };
    let mut out = header.to_vec();
    let mut put = |x: f32| out.extend(x.to_le_bytes());
    for &kind in order {
        let layers = if matches!(kind, 0 | 10) { 1 } else { LAYERS };
        for layer in 0..layers {
            (0..len(kind)).for_each(|i| put(value(kind, layer, i)));
        }
    }
    if tables {
        (0..CONTEXT * 4).for_each(|_| put(-1.0));
    }
    if !tied {
        (0..len(11)).for_each(|i| put(value(11, 0, i)));
    }
    out
}

/// dim 8, 2 heads of 4, 1 key/value head.
fn numbers(n_vocab: i32) -> Vec<u8> {
    let numbers = [
        DIM as i32,
        HIDDEN as i32,
        LAYERS as i32,
        2,
        1,
        n_vocab,
        CONTEXT as i32,
    ];
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

const LEGACY: [usize; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
const VERSION_1: [usize; 11] = [1, 6, 10, 0, 2, 3, 4, 5, 7, 8, 9];

fn legacy(tied: bool) -> Vec<u8> {
    let n_vocab = if tied { VOCAB as i32 } else { -(VOCAB as i32) };
    file(&numbers(n_vocab), &LEGACY, tied, true)
}

fn version_1(tied: bool) -> Vec<u8> {
    let mut header = MAGIC.to_le_bytes().to_vec();
    header.extend(1u32.to_le_bytes());
    header.extend(numbers(VOCAB as i32));
    header.push(u8::from(tied));
    header.resize(HEADER_V1, 0);
    file(&header, &VERSION_1, tied, false)
}

#[test]
fn every_variant_gives_every_tensor() {
    for tied in [true, false] {
        for bytes in [legacy(tied), version_1(tied)] {
            let model = read(&bytes).unwrap();
            let config = Config::new(model.hyperparameters).unwrap();
            assert_eq!(config.tied_head(), tied);
            assert_eq!((config.n_vocab(), config.n_kv()), (VOCAB, KV));
            for (spec, values) in layout::tensors(&config).zip(&model.parameters) {
                assert_eq!(values.len(), spec.len(), "{}", spec.id);
                let kinds: &[usize] = match spec.id.tensor {
                    Tensor::Wte => &[0],
                    Tensor::Ln1Weight => &[1],
                    Tensor::CAttnWeight => &[2, 3, 4],
                    Tensor::AttnProjWeight => &[5],
                    Tensor::Ln2Weight => &[6],
                    Tensor::CFcWeight => &[7, 9],
                    Tensor::MlpProjWeight => &[8],
                    Tensor::LnFWeight => &[10],
                    Tensor::LmHead => &[11],
                    _ => unreachable!("{}", spec.id),
                };
                let mut kind = 0;
                let mut index = 0;
                for &seen in values {
                    if seen != value(kinds[kind], spec.id.layer, index) {
                        (kind, index) = (kind + 1, 0);
                    }
                    assert_eq!(
                        seen,
                        value(kinds[kind], spec.id.layer, index),
                        "{}",
                        spec.id
                    );
                    index += 1;
                }
                assert_eq!(kind, kinds.len() - 1, "{}", spec.id);
            }
        }
    }
}

#[test]
fn damage_is_named() {
    let message = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    let whole = legacy(true);
    assert!(message(&whole[..20]).contains("shorter than its header"));
    assert!(message(&whole[..whole.len() - 4]).contains("it is cut short"));
    assert!(message(&[&whole[..], &[0; 4]].concat()).contains("asks for"));
    let mut wrong = whole.clone();
    wrong[..4].copy_from_slice(&(-3i32).to_le_bytes());
    assert!(message(&wrong).contains("dim -3"));
    wrong[..4].copy_from_slice(&9i32.to_le_bytes());
    assert!(message(&wrong).contains("n_embd 9 is not a multiple of n_head 2"));
    let mut quantised = version_1(true);
    quantised[4] = 2;
    assert!(message(&quantised).contains("version 2"));
    assert!(message(b"a text that is no model at all, but long enough").contains("not a llama2.c"));
}
