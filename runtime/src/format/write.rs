//! Writing a model file.

#[cfg(doc)]
use super::ModelFile;
use super::{CHECKSUM, Header, MAGIC, PREFIX, TEMPLATE_VERSION, WriteError, checksum};
use crate::layout::{self, ALIGNMENT, TensorSpec};

/// Bytes of the file that [`fn@write`] makes of `header`.
///
/// # Errors
/// [`WriteError::Header`] where [`ModelFile::open`] would refuse the file.
pub fn file_bytes(header: &Header<'_>) -> Result<u64, WriteError> {
    let config = header.config().map_err(WriteError::Header)?;
    let weights = layout::weights_bytes(&config, header.format);
    Ok(weights_at(header, weights)? + weights)
}

/// Where the weights begin.
fn weights_at(header: &Header<'_>, weights: u64) -> Result<u64, WriteError> {
    let size = |error| match error {
        Ok(size) => Ok(size as u64),
        Err(_) => Err(WriteError::Encoding),
    };
    let template = match header.version() {
        TEMPLATE_VERSION.. => size(postcard::experimental::serialized_size(
            header.metadata.chat_template,
        ))?,
        _ => 0,
    };
    let header = size(postcard::experimental::serialized_size(header))? + template;
    let weights_len = size(postcard::experimental::serialized_size(&weights))?;
    let pad_len = 1;
    let before_pad = PREFIX as u64 + header + CHECKSUM as u64 + pad_len + weights_len;
    Ok(before_pad.next_multiple_of(ALIGNMENT as u64))
}

/// Writes a model file into `out`, which is [`file_bytes`] long.
///
/// `fill` is called for each tensor in the order of the file, with the place where its bytes go:
/// [`TensorSpec::bytes`] less the padding behind them, so that `Format::encode` can fill it.
///
/// # Errors
/// [`WriteError::Header`] where [`ModelFile::open`] would refuse the file, [`WriteError::Length`] if
/// `out` is not as long as needed, or what `fill` returns.
pub fn write<E: From<WriteError>>(
    out: &mut [u8],
    header: &Header<'_>,
    mut fill: impl FnMut(&TensorSpec, &mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let config = header.config().map_err(WriteError::Header)?;
    let weights_len = layout::weights_bytes(&config, header.format);
    let start = weights_at(header, weights_len)?;
    let (needed, given) = (start + weights_len, out.len() as u64);
    if needed != given {
        return Err(WriteError::Length { needed, given }.into());
    }
    out.fill(0);
    let (head, weights) = out.split_at_mut(start as usize);
    let checksum_at = write_head(head, header, weights_len)?;
    let mut rest = weights;
    for spec in layout::tensors(&config) {
        let (place, after) = rest.split_at_mut(spec.bytes(header.format) as usize);
        fill(
            &spec,
            &mut place[..spec.stored_bytes(header.format) as usize],
        )?;
        rest = after;
    }
    let sum = checksum(out, checksum_at).to_le_bytes();
    out[checksum_at..checksum_at + CHECKSUM].copy_from_slice(&sum);
    Ok(())
}

/// Everything up to the weights, the checksum still zero; returns where the checksum goes.
fn write_head(head: &mut [u8], header: &Header<'_>, weights_len: u64) -> Result<usize, WriteError> {
    let (prefix, rest) = head.split_at_mut(PREFIX);
    prefix[..MAGIC.len()].copy_from_slice(&MAGIC);
    prefix[MAGIC.len()] = header.version();
    let length = |part: Result<&mut [u8], postcard::Error>| match part {
        Ok(part) => Ok(part.len()),
        Err(_) => Err(WriteError::Encoding),
    };
    let mut checksum_at = PREFIX + length(postcard::to_slice(header, rest))?;
    if header.version() >= TEMPLATE_VERSION {
        let template = header.metadata.chat_template;
        checksum_at += length(postcard::to_slice(template, &mut head[checksum_at..]))?;
    }
    let mut varint = [0; 10];
    let varint_len = length(postcard::to_slice(&weights_len, &mut varint))?;
    let varint_at = head.len() - varint_len;
    head[varint_at..].copy_from_slice(&varint[..varint_len]);
    let pad_at = checksum_at + CHECKSUM;
    head[pad_at] = (varint_at - pad_at - 1) as u8;
    Ok(checksum_at)
}
