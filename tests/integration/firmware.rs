//! What of the firmware needs no board: lines and numbers, byte by byte.

#[path = "../../tools/firmware/src/line.rs"]
mod line;
#[path = "../../tools/firmware/src/number.rs"]
mod number;

use line::{Effect, Line, LineError, MAX_LINE};
use minigpt_runtime::rng::Rng;

/// The lines that `bytes` are.
fn lines(bytes: &[u8], terminal: bool) -> Vec<Result<String, LineError>> {
    let mut line = Line::new();
    let mut lines = Vec::new();
    for byte in bytes {
        if line.push(*byte, terminal) == Effect::Ended {
            lines.push(line.text().map(str::to_owned));
        }
    }
    if line.end() {
        lines.push(line.text().map(str::to_owned));
    }
    assert!(!line.end());
    lines
}

fn texts(expected: &[&str]) -> Vec<Result<String, LineError>> {
    expected.iter().map(|text| Ok((*text).to_owned())).collect()
}

#[test]
fn lines_end_with_any_end_of_line() {
    for terminal in [false, true] {
        let ends = lines(b"a\nb\r\nc\rd\n\n\r\n\r\re", terminal);
        assert_eq!(ends, texts(&["a", "b", "c", "d", "", "", "", "", "e"]));
        assert_eq!(lines(b"", terminal), texts(&[]));
    }
}

#[test]
fn lines_that_cannot_be_used_harm_no_other() {
    for terminal in [false, true] {
        let longest = vec![b'x'; MAX_LINE];
        let bytes = [
            &longest[..],
            b"\n",
            &longest,
            b"y\n",
            b"ab\xC3(\nc\xF0\n",
            b"d\n",
        ]
        .concat();
        let expected = [
            Ok("x".repeat(MAX_LINE)),
            Err(LineError::TooLong),
            Err(LineError::NotText(2)),
            Err(LineError::NotText(1)),
            Ok("d".to_owned()),
        ];
        assert_eq!(lines(&bytes, terminal), expected);
    }
}

#[test]
fn keys_edit_a_line_at_a_terminal_only() {
    let typed = "cat\x08\x7Fow é\x08\x08.\r\x08x\x15wolf\x1B[A\x1B[1;5C\x1BOA\x01!\r".as_bytes();
    assert_eq!(lines(typed, true), texts(&["cow.", "wolf!"]));
    assert_eq!(lines(b"a\x08b\x1B[A\n", false), texts(&["a\x08b\x1B[A"]));
    let mut line = Line::new();
    let typed = "ab\u{1F600}".as_bytes();
    assert!(
        typed
            .iter()
            .all(|byte| line.push(*byte, true) == Effect::Added)
    );
    assert_eq!(line.push(0x7F, true), Effect::Erased(1));
    assert_eq!(line.push(0x15, true), Effect::Erased(2));
    assert_eq!(line.push(0x7F, true), Effect::Erased(0));
}

#[test]
fn decimals_are_the_nearest_numbers() {
    let mut rng = Rng::new(1, 0);
    for i in 0..200_000 {
        let (whole, fraction) = (1 + rng.next_below(3), rng.next_below(10));
        let digits = |rng: &mut Rng, n| {
            (0..n)
                .map(|_| char::from(b'0' + rng.next_below(10) as u8))
                .collect::<String>()
        };
        let text = format!("{}.{}", digits(&mut rng, whole), digits(&mut rng, fraction));
        let expected: f32 = text.parse().unwrap();
        let decimal = number::decimal(&text).unwrap();
        assert_eq!(decimal.to_bits(), expected.to_bits(), "{text}, number {i}");
    }
    // Between two floats, and a hair above.
    assert_eq!(number::decimal("16777217"), Some(16_777_216.0));
    assert_eq!(number::decimal("16777217.001"), Some(16_777_218.0));
    assert_eq!(
        (
            number::decimal("0"),
            number::decimal(".5"),
            number::decimal("1.")
        ),
        (Some(0.0), Some(0.5), Some(1.0))
    );
    for wrong in [
        "",
        ".",
        "-1",
        "1e3",
        "1.2.3",
        "nan",
        "1234567890123",
        "0.1234567891",
    ] {
        assert_eq!(number::decimal(wrong), None, "{wrong}");
    }
}

#[test]
fn division_is_exact() {
    let mut rng = Rng::new(2, 0);
    for _ in 0..100_000 {
        let (n, divisor) = (
            rng.next() >> rng.next_below(64),
            rng.next() >> rng.next_below(64),
        );
        let exact = n.checked_div(divisor).zip(n.checked_rem(divisor));
        assert_eq!(
            number::divide(n, divisor),
            exact.unwrap_or((u64::MAX, n)),
            "{n} / {divisor}"
        );
    }
}

#[test]
fn integers_there_and_back() {
    for n in [0, 1, 9, 10, 4_294_967_296, u64::MAX] {
        let mut buffer = [0; 20];
        let text = number::digits(n, &mut buffer, 10);
        assert_eq!(
            (text, number::integer(text)),
            (n.to_string().as_str(), Some(n))
        );
        assert_eq!(number::digits(n, &mut [0; 20], 16), format!("{n:x}"));
    }
    for wrong in ["", "-1", "1.0", "18446744073709551616", "x"] {
        assert_eq!(number::integer(wrong), None, "{wrong}");
    }
}
