//! Records as bytes: a mark, what it is, its ticket, its length, a checksum over all of that and the content, the content.
//!
//! The mark lets a reader find the next record behind one that is damaged; the checksum tells a damaged one. Neither is
//! protection against anybody: the content is sealed.

use ring::digest::{Context, SHA256};

use oauth_manager_actors::{
    domain::sealed::Sealed,
    ports::spool::{SpoolTicket, SpooledAnswer},
};

const MARK: [u8; 4] = *b"oms1";
const ANSWER: u8 = 1;
const FORGOTTEN: u8 = 2;
const CHECKSUM_BYTES: usize = 8;
/// Mark, kind, ticket, length, checksum.
const HEAD_BYTES: usize = 4 + 1 + 8 + 4 + CHECKSUM_BYTES;
/// No answer comes near: a provider's is capped while it streams in. A longer length is damage.
const CONTENT_BYTES_MAX: usize = 1 << 20;

/// One record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    Answer(SpoolTicket, SpooledAnswer),
    Forgotten(SpoolTicket),
}

/// An answer as a record. `None`: longer than any answer is.
pub(super) fn answer(ticket: SpoolTicket, answer: &SpooledAnswer) -> Option<Vec<u8>> {
    let id = answer.id.to_string();
    let content = [
        &u16::try_from(id.len()).ok()?.to_le_bytes()[..],
        id.as_bytes(),
        &answer.generation.to_le_bytes(),
        &answer.sealed.0,
    ]
    .concat();
    (content.len() <= CONTENT_BYTES_MAX).then(|| record(ANSWER, ticket, &content))
}

/// That an answer need not be kept.
pub(super) fn forgotten(ticket: SpoolTicket) -> Vec<u8> {
    record(FORGOTTEN, ticket, &[])
}

fn record(kind: u8, ticket: SpoolTicket, content: &[u8]) -> Vec<u8> {
    let ticket = ticket.0.to_le_bytes();
    let length = (content.len() as u32).to_le_bytes();
    let checksum = checksum(kind, &ticket, &length, content);
    [&MARK[..], &[kind], &ticket, &length, &checksum, content].concat()
}

fn checksum(kind: u8, ticket: &[u8], length: &[u8], content: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hash = Context::new(&SHA256);
    for part in [&[kind][..], ticket, length, content] {
        hash.update(part);
    }
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&hash.finish().as_ref()[..CHECKSUM_BYTES]);
    checksum
}

/// Every whole record in these bytes, and how many bytes belong to none.
pub(super) fn scan(mut bytes: &[u8]) -> (Vec<Record>, usize) {
    let (mut records, mut damaged) = (Vec::new(), 0);
    while !bytes.is_empty() {
        if let Some((record, rest)) = first(bytes) {
            records.push(record);
            bytes = rest;
        } else {
            // On to the next place where a record may begin.
            let next = bytes[1..].windows(MARK.len()).position(|window| window == MARK);
            let skipped = next.map_or(bytes.len(), |next| next + 1);
            damaged += skipped;
            bytes = &bytes[skipped..];
        }
    }
    (records, damaged)
}

fn first(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let (kind, ticket, length) = (head[4], &head[5..13], &head[13..17]);
    let content_bytes = u32::from_le_bytes(length.try_into().ok()?) as usize;
    if head[..4] != MARK || content_bytes > CONTENT_BYTES_MAX {
        return None;
    }
    let (content, rest) = rest.split_at_checked(content_bytes)?;
    if checksum(kind, ticket, length, content) != head[17..] {
        return None;
    }
    let ticket = SpoolTicket(u64::from_le_bytes(ticket.try_into().ok()?));
    let record = match kind {
        ANSWER => Record::Answer(ticket, read_answer(content)?),
        FORGOTTEN => Record::Forgotten(ticket),
        _ => return None,
    };
    Some((record, rest))
}

fn read_answer(content: &[u8]) -> Option<SpooledAnswer> {
    let (id_bytes, rest) = content.split_first_chunk::<2>()?;
    let (id, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*id_bytes)))?;
    let (generation, sealed) = rest.split_first_chunk::<8>()?;
    Some(SpooledAnswer {
        id: std::str::from_utf8(id).ok()?.parse().ok()?,
        generation: i64::from_le_bytes(*generation),
        sealed: Sealed(sealed.to_vec()),
    })
}
