//! Numbers from and to text; needs no board. The standard ones would be a third of the program.

/// The digits of `n`.
#[inline(never)]
pub(crate) fn digits(mut n: u64, buffer: &mut [u8; 20], base: u64) -> &str {
    let mut start = buffer.len();
    for (i, slot) in buffer.iter_mut().enumerate().rev() {
        let (quotient, digit) = divide(n, base);
        *slot = b"0123456789abcdef"[(digit & 15) as usize];
        n = quotient;
        start = i;
        if n == 0 {
            break;
        }
    }
    core::str::from_utf8(buffer.get(start..).unwrap_or_default()).unwrap_or_default()
}

/// `n / divisor` and what remains, a bit at a time: the compiler's own division is faster and a
/// kilobyte larger. Dividing by 0 gives all ones.
#[inline(never)]
pub(crate) fn divide(n: u64, divisor: u64) -> (u64, u64) {
    let (mut quotient, mut rest) = (0, 0);
    for bit in (0..u64::BITS).rev() {
        let carry = rest >> 63;
        rest = rest << 1 | n >> bit & 1;
        quotient <<= 1;
        if carry != 0 || rest >= divisor {
            rest = rest.wrapping_sub(divisor);
            quotient |= 1;
        }
    }
    (quotient, rest)
}

/// The number that `text` is, digits alone.
#[inline(never)]
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
#[inline(never)]
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
    let (q, rest) = divide(n, divisor);
    let mut q = q | u64::from(rest != 0);
    let mut exponent = 127 - shift;
    while q >> 31 != 0 {
        q = q >> 1 | q & 1;
        exponent += 1;
    }
    // Rounds once, here; a power of two changes no digit.
    q as u32 as f32 * f32::from_bits(exponent << 23)
}
