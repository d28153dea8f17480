//! Numbers from and to text; needs no board. The standard ones would be a third of the program.

/// The digits of `n`.
pub(crate) fn digits(mut n: u64, buffer: &mut [u8; 20], base: u64) -> &str {
    let mut start = buffer.len();
    for (i, slot) in buffer.iter_mut().enumerate().rev() {
        *slot = b"0123456789abcdef"[(n % base & 15) as usize];
        n /= base;
        start = i;
        if n == 0 {
            break;
        }
    }
    core::str::from_utf8(buffer.get(start..).unwrap_or_default()).unwrap_or_default()
}

/// The number that `text` is, digits alone.
pub(crate) fn integer(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0u64, |n, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        n.checked_mul(10)?.checked_add(digit.into())
    })
}

/// The number nearest to `12`, `0.8`, `.95`: digits, at most one point, twelve digits in all and nine
/// behind the point.
pub(crate) fn decimal(text: &str) -> Option<f32> {
    let (mut n, mut divisor, mut n_digits, mut point) = (0, 1, 0, false);
    for byte in text.bytes() {
        match byte {
            b'.' if !point => point = true,
            b'0'..=b'9' if n_digits < 12 && divisor < 1_000_000_000 => {
                n = n * 10 + u64::from(byte - b'0');
                divisor *= if point { 10 } else { 1 };
                n_digits += 1;
            }
            _ => return None,
        }
    }
    (n_digits > 0).then(|| quotient(n, divisor))
}

/// `n / divisor`, correctly rounded; the divisor is below `2^30`.
fn quotient(n: u64, divisor: u64) -> f32 {
    if n == 0 {
        return 0.0;
    }
    let shift = n.leading_zeros();
    let n = n << shift;
    // At least 33 bits; the lowest stands for all that lies below.
    let mut q = n / divisor | u64::from(n % divisor != 0);
    let mut exponent = 127 - shift;
    while q >> 31 != 0 {
        q = q >> 1 | q & 1;
        exponent += 1;
    }
    // Rounds once, here; a power of two changes no digit.
    q as u32 as f32 * f32::from_bits(exponent << 23)
}
