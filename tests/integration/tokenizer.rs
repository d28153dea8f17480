//! Tokenizers against their referees: Hugging Face's BPE, and llama2.c's encoder as it is written.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashMap;
use std::time::Instant;

use minigpt_runtime::StreamDecoder;
use minigpt_runtime::tokenizer::Words;
use minigpt_trainer::bpe::{BpeTables, gpt2_byte_order, learn};
use minigpt_trainer::tokenizer::OwnedTokenizer;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Trainer,
};

/// Scripts, marks, digits and spaces that ASCII text never shows.
const SCRIPTS: &str = "\
Ὁ ἄνθρωπος φύσει πολιτικὸν ζῷον· τὸ ὕδωρ ῥεῖ, πάντα ῥεῖ καὶ οὐδὲν μένει.\r\n\
Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. Її ґанок.\n\
हिन्दी में लिखा हुआ पाठ, जिसमें मात्राएँ हैं: कि, की, कु, कू, के, कै, को, कौ। १२३४५ रुपये\n\
ภาษาไทยไม่มีช่องว่างระหว่างคำ น้ำใจ กำลัง ๑๒๓๔ บาท\n\
日本語の文章。漢字とかなとカタカナ、「括弧」も。 中文没有空格,但有标点!一二三〇 한국어 문장은 띄어쓰기가 있다.\n\
👩‍👩‍👧‍👦 🙂🙃 🇬🇷🇯🇵 ☕️ 1️⃣ ✋🏽 — … “quotes” ‘it’s’ it's we'll I'M 'tis ''ll\n\
½ ¼ ² ³ ① ⑫ Ⅷ ⅻ ٣٤٥ ௧௨ 𝟘𝟙 𝔘𝔫𝔦 Ⓐⓑ ªº ʰ ː ǅ ߊߋ ᏣᎳᎩ ⁿ₂ 〇\n\
a\u{a0}b\u{a0}\u{a0}c\u{2028}d\u{2029}e\u{3000}全角\u{3000}\u{3000}f\u{202f}12\u{2009}000\u{200b}g\u{85}h\u{feff}i\n\
\ttab\t\ttabs \t mixed\r\n\r\n  two  spaces   three \n \n end\x0b\x0c\x1c\x1f\u{180e}x e\u{301} n\u{303}o a\u{345}b  \n";

/// Bytes of a file of the test data.
fn data(name: &str) -> Option<Vec<u8>> {
    let path = minigpt_tests::data(name)?;
    Some(std::fs::read(path).unwrap())
}

/// Random text from the characters of [`SCRIPTS`] and runs of the same.
fn scrambled(n: usize, seed: u32) -> String {
    let mut chars: Vec<char> = SCRIPTS.chars().collect();
    chars.extend("  \n\n\t'''sdmtrvel e aa 11 !".repeat(9).chars());
    let mut random = seed;
    let mut next = |below: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 12) as usize % below
    };
    let mut text = String::new();
    for _ in 0..n {
        let ch = chars[next(chars.len())];
        let times = if next(4) == 0 { 1 + next(9) } else { 1 };
        text.extend(core::iter::repeat_n(ch, times));
    }
    text
}

/// Hugging Face's words, in the characters that stand for bytes.
fn their_words(text: &str) -> Vec<String> {
    let mut pretokenized = PreTokenizedString::from(text);
    let byte_level = ByteLevel::new(false, true, true);
    byte_level.pre_tokenize(&mut pretokenized).unwrap();
    let splits = pretokenized.get_splits(OffsetReferential::Original, OffsetType::None);
    splits.iter().map(|split| split.0.to_owned()).collect()
}

fn their_bpe(text: &str, n_vocab: usize) -> BPE {
    let specials = ["<pad>", "<unk>", "<bos>", "<eos>"].map(|text| AddedToken::from(text, true));
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(n_vocab)
        .show_progress(false)
        .special_tokens(specials.to_vec())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut model = BPE::default();
    trainer
        .feed([text].into_iter(), |text| Ok(their_words(text)))
        .unwrap();
    trainer.train(&mut model).unwrap();
    model
}

/// GPT-2's characters for bytes.
fn characters() -> HashMap<u8, char> {
    let alphabet: HashMap<u8, char> = gpt2_byte_order()
        .map(|byte| match byte {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => (byte, char::from(byte)),
            _ => (byte, '\0'),
        })
        .collect();
    let others = gpt2_byte_order().filter(|byte| alphabet[byte] == '\0');
    let others: Vec<(u8, char)> = others.zip('\u{100}'..).collect();
    alphabet.into_iter().chain(others).collect()
}

/// Our merges in rank order, as Hugging Face writes them.
fn our_merges(tables: &BpeTables) -> Vec<[String; 2]> {
    let characters = characters();
    let mut merges: Vec<_> = tables.merges.iter().collect();
    merges.sort_by_key(|(_, (rank, _))| *rank);
    let text = |id: u32| {
        let bytes = tables.texts[id as usize].iter();
        bytes.map(|byte| characters[byte]).collect()
    };
    let pairs = merges
        .into_iter()
        .map(|((left, right), _)| [text(*left), text(*right)]);
    pairs.collect()
}

fn compare_bpe(name: &str, text: &str, n_vocab: usize, others: &[&str]) {
    let start = Instant::now();
    let tables = learn(&[text.as_bytes()], n_vocab).unwrap();
    let learned = start.elapsed();
    let theirs = their_bpe(text, n_vocab);
    let their_time = start.elapsed() - learned;
    let json = serde_json::to_value(&theirs).unwrap();
    let their_merges: Vec<[String; 2]> = serde_json::from_value(json["merges"].clone()).unwrap();
    let our_merges = our_merges(&tables);
    for (rank, (ours, theirs)) in our_merges.iter().zip(&their_merges).enumerate() {
        assert_eq!(ours, theirs, "{name}: merge {rank}");
    }
    assert_eq!(our_merges.len(), their_merges.len(), "{name}");
    assert_eq!(tables.texts.len(), theirs.get_vocab_size(), "{name}");

    let tokenizer = OwnedTokenizer::from_bpe(&tables).unwrap();
    for text in [text].iter().chain(others) {
        let start = Instant::now();
        let ours = tokenizer.encode_text(text.as_bytes()).unwrap();
        let encoded = start.elapsed();
        let mut runtime = vec![0; text.len() + 1];
        let start = Instant::now();
        let n = tokenizer
            .view()
            .encode(text.as_bytes(), &mut runtime)
            .unwrap();
        let encoded_by_runtime = start.elapsed();
        assert!(ours == runtime[..n], "{name}: trainer and runtime");
        let words = their_words(text);
        let theirs = words.iter().flat_map(|word| theirs.tokenize(word).unwrap());
        let theirs: Vec<u32> = theirs.map(|token| token.id).collect();
        assert!(ours == theirs, "{name}: encoding");
        eprintln!(
            "{name}: {} tokens of {n_vocab} from {} bytes in {encoded:.1?}, \
             by the runtime {encoded_by_runtime:.1?}",
            ours.len(),
            text.len()
        );
    }
    eprintln!(
        "{name}: {} merges learned in {learned:.1?}, by Hugging Face in {their_time:.1?}",
        our_merges.len()
    );
}

#[test]
fn bpe_equals_hugging_face_on_scripts() {
    let more = scrambled(20_000, 1);
    compare_bpe("scripts", &SCRIPTS.repeat(3), 1200, &[&more]);
    compare_bpe("scrambled", &more, 3000, &[SCRIPTS, &scrambled(20_000, 2)]);
    // Few letters: the same token is made by several merges.
    let repetitive: String = scrambled(60_000, 3)
        .chars()
        .map(|ch| ['a', 'b', 'a', ' '][ch as usize % 4])
        .collect();
    compare_bpe("repetitive", &repetitive, 900, &[&"ab".repeat(3000)]);
}

#[test]
fn bpe_equals_hugging_face_on_real_text() {
    let files = ["tinyshakespeare.txt", "wikitext2-valid.txt"];
    let texts: Vec<String> = files
        .iter()
        .filter_map(|name| data(name))
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .collect();
    let scrambled = scrambled(5_000, 4);
    for (name, text) in files.iter().zip(&texts) {
        let mut others: Vec<&str> = texts.iter().map(String::as_str).collect();
        others.extend([SCRIPTS, &scrambled]);
        compare_bpe(name, text, 4096, &others);
    }
}

/// Every character that is assigned in both versions of Unicode is of the same kind.
#[test]
fn kinds_of_characters_equal_hugging_face() {
    let characters = characters();
    let mut different = Vec::new();
    let all: Vec<char> = ('\0'..='\u{323af}').collect();
    // Ideographs and Hangul syllables are letters all through: a sample is enough.
    let uniform = |ch: &char| matches!(ch, '\u{3400}'..='\u{9ffc}' | '\u{ac00}'..='\u{d7a0}' | '\u{e000}'..='\u{f8ff}' | '\u{20000}'..);
    let tested = all
        .iter()
        .filter(|ch| !uniform(ch) || (**ch as u32).is_multiple_of(101));
    for ch in tested {
        let text = format!("a{ch}1{ch}!{ch}");
        let ours: Vec<String> = Words::new(text.as_bytes())
            .map(|word| word.iter().map(|byte| characters[byte]).collect())
            .collect();
        if ours != their_words(&text) {
            different.push(*ch as u32);
        }
    }
    // Oniguruma knows Unicode 16, `core` 17: what 17 added differs, and nothing else may.
    let added = |ch: &&u32| {
        matches!(**ch, 0x88f | 0xc5c | 0xcdc | 0xa7ce..=0xa7f1 | 0x10940..=0x10959
            | 0x10ec5..=0x10ec7 | 0x11db0..=0x11de9 | 0x16ea0..=0x16ed3 | 0x16ff2..=0x16ff6
            | 0x187f8..=0x187ff | 0x18d09..=0x18df2 | 0x1e6c0..=0x1e6ff)
    };
    let unexpected: Vec<_> = different.iter().filter(|ch| !added(ch)).collect();
    assert!(unexpected.is_empty(), "{unexpected:x?}");
}

/// llama2.c, `run.c`, `encode`, step by step.
fn llama2c_encode(vocabulary: &[(f32, Vec<u8>)], text: &[u8]) -> Vec<u32> {
    let index: HashMap<&[u8], usize> = (vocabulary.iter().enumerate())
        .map(|(id, (_, text))| (text.as_slice(), id))
        .collect();
    let mut tokens = Vec::new();
    if !text.is_empty() {
        tokens.push(index[&b" "[..]]);
    }
    let mut character = Vec::new();
    for (at, &byte) in text.iter().enumerate() {
        if byte & 0xc0 != 0x80 {
            character.clear();
        }
        character.push(byte);
        if text.get(at + 1).is_some_and(|next| next & 0xc0 == 0x80) && character.len() < 4 {
            continue;
        }
        match index.get(character.as_slice()) {
            Some(id) => tokens.push(*id),
            None => tokens.extend(character.iter().map(|byte| usize::from(*byte) + 3)),
        }
        character.clear();
    }
    loop {
        let (mut best_score, mut best) = (-1e10, None);
        for at in 1..tokens.len() {
            let pair = [tokens[at - 1], tokens[at]].map(|id| vocabulary[id].1.as_slice());
            if let Some(&id) = index.get(pair.concat().as_slice())
                && vocabulary[id].0 > best_score
            {
                (best_score, best) = (vocabulary[id].0, Some((at, id)));
            }
        }
        let Some((at, id)) = best else {
            return tokens.into_iter().map(|id| id as u32).collect();
        };
        tokens.splice(at - 1..=at, [id]);
    }
}

fn parse_llama2c(mut file: &[u8]) -> Vec<(f32, Vec<u8>)> {
    let number = |file: &mut &[u8]| {
        let (bytes, rest) = file.split_first_chunk().unwrap();
        *file = rest;
        u32::from_le_bytes(*bytes)
    };
    number(&mut file);
    let mut vocabulary = Vec::new();
    while !file.is_empty() {
        let score = f32::from_bits(number(&mut file));
        let length = number(&mut file) as usize;
        let (text, rest) = file.split_at(length);
        file = rest;
        vocabulary.push((score, text.to_vec()));
    }
    vocabulary
}

#[test]
fn sentencepiece_equals_llama2c() {
    let Some(file) = data("tok512.bin") else {
        return;
    };
    let vocabulary = parse_llama2c(&file);
    let tokenizer = OwnedTokenizer::llama2c(&file, 512).unwrap();
    let compare = |text: &[u8]| {
        let ours = tokenizer.encode_text(text).unwrap();
        assert_eq!(ours, llama2c_encode(&vocabulary, text));
        let mut runtime = vec![0; text.len() + 1];
        let n = tokenizer.view().encode(text, &mut runtime).unwrap();
        assert_eq!(ours, runtime[..n]);
        let (mut decoder, mut decoded) = (StreamDecoder::new(), String::new());
        for id in ours {
            let mut sink = |part: &str| decoded.push_str(part);
            decoder.push(&tokenizer.view(), id, &mut sink).unwrap();
        }
        decoder.finish(&mut |part| decoded.push_str(part));
        assert_eq!(decoded, String::from_utf8_lossy(text));
    };
    for line in SCRIPTS
        .lines()
        .chain(["", " ", "   ", " a  b ", "<0x41> <s> <unk>"])
    {
        compare(line.as_bytes());
    }
    for seed in 0..20 {
        compare(scrambled(200, seed).as_bytes());
    }
    compare(b"\xff\x80\x80\x80\x80\x80 \x80 \xe2\x82");
    if let Some(text) = data("tinyshakespeare.txt") {
        for at in (0..text.len() - 400).step_by(50_000) {
            compare(&text[at..at + 400]);
        }
        let start = Instant::now();
        let ids = tokenizer.encode_text(&text).unwrap();
        let encoded = start.elapsed();
        let mut runtime = vec![0; text.len() + 1];
        let start = Instant::now();
        let n = tokenizer.view().encode(&text, &mut runtime).unwrap();
        assert!(ids == runtime[..n]);
        eprintln!(
            "tok512: {n} tokens from {} bytes in {encoded:.1?}, by the runtime {:.1?}",
            text.len(),
            start.elapsed()
        );
    }
}
