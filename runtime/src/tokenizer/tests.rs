use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use super::*;

const TEXTS: [&str; 8] = [
    "",
    "a",
    " the  theatre\n\n then",
    "naïve café, ₿ 12½ ٣",
    "👩‍👩‍👧 🙂",
    "日本語 テスト",
    "हिन्दी e\u{301}",
    "\u{a0}\u{2028}x\t\r\n ",
];

fn le(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
    numbers.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn vocabulary(texts: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>) {
    let mut end = 0;
    let ends = le(texts.iter().map(|text| {
        end += u32::try_from(text.len()).unwrap();
        end
    }));
    (ends, texts.concat())
}

/// A small BPE as postcard bytes: four specials, bytes in order, then these merges.
pub(crate) fn bpe(pairs: &[(&str, &str)], wide: bool) -> Vec<u8> {
    let mut texts: Vec<Vec<u8>> = vec![vec![]; 4];
    texts.extend((0..=255).map(|byte| vec![byte]));
    let mut merges = Vec::new();
    for (rank, (left, right)) in pairs.iter().enumerate() {
        let mut id = |text: &[u8]| {
            let found = texts.iter().position(|have| have == text);
            found.unwrap_or_else(|| {
                texts.push(text.to_vec());
                texts.len() - 1
            })
        };
        let (a, b) = (left.as_bytes(), right.as_bytes());
        merges.push([id(a), id(b), rank, id(&[a, b].concat())]);
    }
    merges.sort();
    let merges: Vec<u8> = match wide {
        true => le(merges.iter().flatten().map(|n| u32::try_from(*n).unwrap())),
        false => (merges.iter().flatten())
            .flat_map(|n| u16::try_from(*n).unwrap().to_le_bytes())
            .collect(),
    };
    let (ends, bytes) = vocabulary(&texts);
    let tokenizer = Tokenizer::Bpe(Bpe {
        specials: Specials {
            pad: Some(0),
            unk: Some(1),
            bos: Some(2),
            eos: Some(3),
        },
        vocabulary: Vocabulary {
            ends: &ends,
            bytes: &bytes,
        },
        byte_ids: &le(4..260),
        wide,
        merges: &merges,
    });
    postcard_bytes(&tokenizer)
}

pub(crate) fn sentencepiece(pieces: &[(&str, f32)], cuts_at_spaces: bool) -> Vec<u8> {
    let mut texts: Vec<Vec<u8>> = ["<unk>", "\n<s>\n", "\n</s>\n"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec();
    texts.extend((0..256).map(|byte| format!("<0x{byte:02X}>").into_bytes()));
    texts.extend(pieces.iter().map(|(text, _)| text.as_bytes().to_vec()));
    let scores = core::iter::repeat_n(0.0, 259).chain(pieces.iter().map(|(_, score)| *score));
    let mut sorted: Vec<usize> = (0..texts.len()).collect();
    sorted.sort_by_key(|&id| &texts[id]);
    let (ends, bytes) = vocabulary(&texts);
    let tokenizer = Tokenizer::SentencePiece(SentencePiece {
        vocabulary: Vocabulary {
            ends: &ends,
            bytes: &bytes,
        },
        scores: &le(scores.map(f32::to_bits)),
        sorted: &le(sorted.iter().map(|id| u32::try_from(*id).unwrap())),
        cuts_at_spaces,
    });
    postcard_bytes(&tokenizer)
}

pub(crate) const PIECES: [(&str, f32); 9] = [
    (" ", -9.0),
    ("t", -9.0),
    ("h", -9.0),
    ("e", -9.0),
    ("é", -9.0),
    ("th", -2.0),
    (" t", -1.0),
    ("he", -3.0),
    (" the", -4.0),
];

pub(crate) const MERGES: [(&str, &str); 8] = [
    (" ", "t"),
    ("h", "e"),
    (" t", "he"),
    ("a", "a"),
    ("aa", "aa"),
    ("aaaa", "aaaa"),
    (" t", "h"),
    (" th", "e"),
];

pub(crate) fn chars() -> Vec<u8> {
    let mut chars: Vec<char> = TEXTS.iter().flat_map(|text| text.chars()).collect();
    chars.sort_unstable();
    chars.dedup();
    let code_points = le(chars.into_iter().map(u32::from));
    let code_points = &code_points;
    postcard_bytes(&Tokenizer::Char(Chars { code_points }))
}

fn postcard_bytes(tokenizer: &Tokenizer<'_>) -> Vec<u8> {
    let mut buf = vec![0; 1 << 16];
    postcard::to_slice(tokenizer, &mut buf).unwrap().to_vec()
}

fn all() -> [Vec<u8>; 6] {
    [
        postcard_bytes(&Tokenizer::Byte),
        chars(),
        bpe(&MERGES, false),
        bpe(&MERGES, true),
        sentencepiece(&PIECES, true),
        sentencepiece(&PIECES, false),
    ]
}

pub(crate) fn open(bytes: &[u8]) -> Tokenizer<'_> {
    let tokenizer: Tokenizer<'_> = postcard::from_bytes(bytes).unwrap();
    tokenizer.validate().unwrap();
    tokenizer
}

pub(crate) fn encode(tokenizer: &Tokenizer<'_>, text: &[u8]) -> Vec<u32> {
    let mut out = vec![0; text.len() + 1];
    let n = tokenizer.encode(text, &mut out).unwrap();
    out.truncate(n);
    out
}

fn decode(tokenizer: &Tokenizer<'_>, ids: &[u32]) -> String {
    let (mut decoder, mut text) = (StreamDecoder::new(), String::new());
    for &id in ids {
        let mut sink = |part: &str| text.push_str(part);
        decoder.push(tokenizer, id, &mut sink).unwrap();
        assert!(decoder.n_pending() <= 3);
    }
    decoder.finish(&mut |part| text.push_str(part));
    text
}

#[test]
fn decoding_gives_the_text_back() {
    for bytes in all() {
        let tokenizer = open(&bytes);
        for text in TEXTS {
            let ids = encode(&tokenizer, text.as_bytes());
            assert_eq!(decode(&tokenizer, &ids), text, "{}", tokenizer.kind());
        }
        if tokenizer.kind() == "char" {
            continue;
        }
        for text in [
            &b"\xff\xfe a\xe2\x82"[..],
            b"\xf0\x9f\x99 \x80 \x80\x80\x80\x80\x80",
            b"\xed\xa0\x80x\xc0\xaf\0",
        ] {
            let ids = encode(&tokenizer, text);
            let lossy = String::from_utf8_lossy(text);
            assert_eq!(decode(&tokenizer, &ids), lossy, "{}", tokenizer.kind());
        }
    }
}

#[test]
fn words_are_those_of_gpt2() {
    let cases: [(&str, &[&str]); 9] = [
        ("Hello world", &["Hello", " world"]),
        (
            "it's 'till we'll",
            &["it", "'s", " '", "till", " we", "'ll"],
        ),
        ("a  b \n c", &["a", " ", " b", " \n", " c"]),
        ("x \n", &["x", " \n"]),
        ("\n\nx", &["\n", "\n", "x"]),
        ("abc123½!?", &["abc", "123½", "!?"]),
        ("हिन्दी", &["ह", "ि", "न", "्", "द", "ी"]),
        ("a\u{a0}\u{a0}b", &["a", "\u{a0}", "\u{a0}", "b"]),
        ("Ⓐa ª", &["Ⓐ", "a", " ª"]),
    ];
    for (text, expected) in cases {
        let words: Vec<_> = Words::new(text.as_bytes())
            .map(|word| core::str::from_utf8(word).unwrap())
            .collect();
        assert_eq!(words, expected);
    }
}

#[test]
fn merges_go_by_rank_then_from_the_left() {
    let bytes = bpe(&MERGES, false);
    let tokenizer = open(&bytes);
    let texts = |text: &str| -> Vec<String> {
        let ids = encode(&tokenizer, text.as_bytes());
        ids.iter().map(|id| decode(&tokenizer, &[*id])).collect()
    };
    assert_eq!(texts(" the th"), [" the", " th"]);
    assert_eq!(texts("aaaaaaa"), ["aaaa", "aa", "a"]);
}

/// One merge at a time, by definition.
fn slow_merges(bpe: &Bpe<'_>, text: &[u8]) -> Vec<u32> {
    let mut ids: Vec<u32> = text.iter().map(|byte| bpe.byte_id(*byte)).collect();
    while let Some((_, at, id)) = (1..ids.len())
        .filter_map(|at| {
            let (rank, id) = bpe.merge(ids[at - 1], ids[at])?;
            Some((rank, at, id))
        })
        .min()
    {
        ids.splice(at - 1..=at, [id]);
    }
    ids
}

fn merge_table(postcard: &[u8]) -> Bpe<'_> {
    match open(postcard) {
        Tokenizer::Bpe(bpe) => bpe,
        other => panic!("{}", other.kind()),
    }
}

#[test]
fn ranks_need_not_grow_along_merges() {
    let tables: [&[(&str, &str)]; 4] = [
        &[("x", "y"), ("yx", "y"), ("y", "x"), ("xy", "xy")],
        &[("xy", "x"), ("x", "y"), ("x", "x")],
        &[
            ("xy", "xy"),
            ("x", "yx"),
            ("xx", "yx"),
            ("y", "x"),
            ("x", "y"),
        ],
        &[
            ("y", "xyx"),
            ("xy", "x"),
            ("yx", "yx"),
            ("y", "x"),
            ("x", "y"),
        ],
    ];
    for table in tables {
        let bytes = bpe(table, true);
        let bpe = merge_table(&bytes);
        for bits in 0..1 << 12 {
            let text: Vec<u8> = (0..12).map(|bit| b'x' + (bits >> bit & 1) as u8).collect();
            assert_eq!(encode(&open(&bytes), &text), slow_merges(&bpe, &text));
        }
    }
}

#[test]
fn merging_looks_up_few_pairs_whatever_the_table() {
    let bytes = bpe(&[("ab", "x"), ("a", "b"), ("abx", "abx")], true);
    let bpe = merge_table(&bytes);
    let (n, passes) = (3000, 3);
    let text: Vec<u8> = b"abx".iter().copied().cycle().take(n).collect();
    let mut ids: Vec<u32> = text.iter().map(|byte| bpe.byte_id(*byte)).collect();
    let looked_up = core::cell::Cell::new(0);
    let merged = merge::merge_all(&mut ids, 0, |left, right| {
        looked_up.set(looked_up.get() + 1);
        bpe.merge(left, right)
    });
    assert_eq!(ids[..merged], slow_merges(&bpe, &text));
    let bound = (1 + passes) * n + 2 * n;
    assert!(looked_up.get() <= bound, "{} of {bound}", looked_up.get());
}

#[test]
fn sentencepiece_prefers_scores_and_falls_back_to_bytes() {
    for cuts in [true, false] {
        let bytes = sentencepiece(&PIECES, cuts);
        let tokenizer = open(&bytes);
        // " t" beats "th"; then "he"; then " the".
        assert_eq!(encode(&tokenizer, b"the the"), [267, 267]);
        assert_eq!(encode(&tokenizer, "éx".as_bytes()), [259, 263, 3 + 120]);
        assert_eq!(encode(&tokenizer, b" \x80"), [259, 35, 131]);
        // The space of encoding goes after `bos` too, and only one.
        assert_eq!(decode(&tokenizer, &[267, 1, 267, 267]), "thethe the");
        assert_eq!(decode(&tokenizer, &[1, 259, 259, 2, 0]), " ");
    }
    let postcard = sentencepiece(&[(" ", 0.0), ("a b", 0.0)], true);
    let tokenizer: Tokenizer<'_> = postcard::from_bytes(&postcard).unwrap();
    let index = 260;
    let table = "vocabulary";
    let error = TokenizerError::Text { table, index };
    assert_eq!(tokenizer.validate(), Err(error));
}

#[test]
fn a_continuation_keeps_its_space() {
    let bytes = sentencepiece(&PIECES, true);
    let tokenizer = open(&bytes);
    let the = 267;
    let text = |mut decoder: StreamDecoder, prompt: &str| {
        let mut text = String::new();
        let mut sink = |part: &str| text.push_str(part);
        decoder.push_bytes(prompt.as_bytes(), &mut sink);
        decoder.push(&tokenizer, the, &mut sink).unwrap();
        text
    };
    assert_eq!(text(StreamDecoder::new(), "Once"), "Once the");
    assert_eq!(text(StreamDecoder::new(), ""), "the");
    assert_eq!(text(StreamDecoder::continuing(), ""), " the");
}

#[test]
fn a_prompt_is_never_nothing() {
    let (mut room, refused) = (
        [0; 16],
        TokenizeError::BufferTooSmall {
            needed: 2,
            given: 0,
        },
    );
    for bytes in all() {
        let tokenizer = open(&bytes);
        let bos = tokenizer.specials().bos;
        let tokens = encode(&tokenizer, b" the");
        let begun: Vec<u32> = bos.into_iter().chain(tokens).collect();
        let n = tokenizer.encode_prompt(b" the", &mut room).unwrap();
        assert_eq!(room[..n], begun);
        assert_eq!(tokenizer.encode_prompt(b"", &mut room), Ok(1));
        assert_eq!(room[0], bos.unwrap_or_else(|| encode(&tokenizer, b"\n")[0]));
        assert_eq!(tokenizer.encode_prompt(b"", &mut []), Err(refused));
    }
    let no_newline = le([u32::from('a')]);
    let chars = Chars {
        code_points: &no_newline,
    };
    assert_eq!(Tokenizer::Char(chars).beginning(), 0);
}

#[test]
fn special_tokens_never_come_from_text() {
    let pieces = [" ", "<", "u", "n", "k", ">", "<u", "<un", "<unk", "0", "x"];
    let pieces = pieces.map(|piece| (piece, -1.0));
    let bytes = sentencepiece(&pieces, false);
    let tokenizer = open(&bytes);
    let ids = encode(&tokenizer, b"<unk>");
    assert_eq!(ids, [259, 259 + 8, 259 + 5]);
    // A piece of one character that is a special token's whole text.
    let mut texts: Vec<Vec<u8>> = [&b"u"[..], b"\n", b"e"].map(Vec::from).to_vec();
    texts.extend((0..256).map(|byte| format!("<0x{byte:02X}>").into_bytes()));
    texts.extend([b" ".to_vec(), b"e".to_vec()]);
    let mut sorted: Vec<u32> = (0..texts.len() as u32).collect();
    sorted.sort_by_key(|&id| &texts[id as usize]);
    let (ends, bytes) = vocabulary(&texts);
    let tokenizer = Tokenizer::SentencePiece(SentencePiece {
        vocabulary: Vocabulary {
            ends: &ends,
            bytes: &bytes,
        },
        scores: &le(texts.iter().map(|_| 0)),
        sorted: &le(sorted),
        cuts_at_spaces: true,
    });
    tokenizer.validate().unwrap();
    let ids = encode(&tokenizer, b"u\ne");
    assert_eq!(ids, [259, 3 + u32::from(b'u'), 3 + 10, 260]);
}

#[test]
fn errors_say_where() {
    let bytes = chars();
    let tokenizer = open(&bytes);
    let mut out = [0; 4];
    let message =
        |text: &[u8], out: &mut [u32]| format!("{}", tokenizer.encode(text, out).unwrap_err());
    assert_eq!(
        message("éΩ".as_bytes(), &mut out),
        "character 'Ω' at byte 2 is not in the tokenizer's alphabet"
    );
    assert!(message(b"a\xff", &mut out).starts_with("byte 1 is not UTF-8"));
    assert_eq!(
        message(b"aaaaa", &mut out),
        "the token buffer holds 4 tokens; 6 always suffice"
    );
    for bytes in all() {
        let tokenizer = open(&bytes);
        let id = u32::try_from(tokenizer.n_vocab()).unwrap();
        let mut sink = |_: &str| {};
        let mut decoder = StreamDecoder::new();
        assert!(decoder.push(&tokenizer, id - 1, &mut sink).is_ok());
        let error = decoder.push(&tokenizer, id, &mut sink).unwrap_err();
        assert_eq!((error.id, error.n_vocab), (id, tokenizer.n_vocab()));
        for capacity in 0..4 {
            let error = tokenizer.encode(b"aaht", &mut out[..capacity]);
            if let Err(error) = error {
                let (needed, given) = (5, capacity);
                assert_eq!(error, TokenizeError::BufferTooSmall { needed, given });
            }
        }
    }
}

/// Truncations and random changes: an error or a tokenizer that works; unchecked tables end too.
#[test]
fn damaged_tables_do_no_harm() {
    let mut random = 1u32;
    let mut next = |below: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(random >> 8).unwrap() % below
    };
    for bytes in all() {
        for len in 0..bytes.len() {
            use_any(&bytes[..len]);
        }
        for _ in 0..3000 {
            let mut bytes = bytes.clone();
            for _ in 0..=next(3) {
                let at = next(bytes.len());
                bytes[at] ^= 1 << next(8);
            }
            use_any(&bytes);
        }
    }
}

fn use_any(bytes: &[u8]) {
    let Ok(tokenizer) = postcard::from_bytes::<Tokenizer<'_>>(bytes) else {
        return;
    };
    let valid = tokenizer.validate().is_ok();
    let mut ids = [0; 64];
    let text = " the thee aaaa é \u{1f642}".as_bytes();
    if let Ok(n) = tokenizer.encode(text, &mut ids) {
        let mut out = Vec::new();
        for &id in &ids[..n] {
            let mut buf = [0; 4];
            let bytes = tokenizer.token_bytes(id, &mut buf);
            assert!(!valid || bytes.is_some());
            out.extend_from_slice(bytes.unwrap_or_default());
        }
        if valid && tokenizer.kind() == "bpe" {
            assert_eq!(out, text);
        }
    }
    for id in [0, 1, 258, 300, u32::MAX] {
        let _ = StreamDecoder::new().push(&tokenizer, id, &mut |_| {});
    }
}

#[test]
fn long_texts_end() {
    let n = 1 << 18;
    let spaces = vec![b' '; n];
    let letters = vec![b'a'; n];
    let mut random = 1u32;
    let mixed: Vec<u8> = (0..n)
        .map(|_| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"hate"[usize::try_from(random >> 30).unwrap()]
        })
        .collect();
    for bytes in all() {
        let tokenizer = open(&bytes);
        for text in [&spaces, &letters, &mixed] {
            let ids = encode(&tokenizer, text);
            assert_eq!(decode(&tokenizer, &ids).as_bytes(), text);
        }
    }
}
