//! Bodies that come compressed (RFC 9110 8.4.1), although nobody asked for that: unfolded while they arrive, and never
//! beyond the cap. What could be unfolded before an answer broke off is kept: a rotated refresh token may be in it.

use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};
use zeroize::Zeroizing;

use super::transport::Cut;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// A body on its way in, bounded before and after it is unfolded.
pub(super) struct IncomingBody {
    /// What `Content-Encoding` says, identity left out.
    declared: Option<String>,
    received: usize,
    bytes_max: usize,
    state: State,
}

enum State {
    /// Too little has come to tell how it is coded.
    Undecided(Capped),
    Plain(Capped),
    Gzip(Box<MultiGzDecoder<Capped>>),
    Zlib(Box<ZlibDecoder<Capped>>),
    Deflate(Box<DeflateDecoder<Capped>>),
}

/// Bytes up to a bound.
struct Capped {
    bytes: Zeroizing<Vec<u8>>,
    bytes_max: usize,
    is_full: bool,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.bytes_max - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            self.is_full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Capped {
    fn of(bytes_max: usize, capacity: usize) -> Self {
        Self {
            bytes: Zeroizing::new(Vec::with_capacity(capacity.min(bytes_max))),
            bytes_max,
            is_full: false,
        }
    }

    /// The bytes; whoever still writes here finds no room.
    fn take(&mut self) -> (Zeroizing<Vec<u8>>, bool) {
        self.bytes_max = 0;
        (std::mem::take(&mut self.bytes), self.is_full)
    }
}

impl IncomingBody {
    /// A body with these headers; nothing of it has come yet.
    pub(super) fn new(headers: &HeaderMap, bytes_max: usize, capacity: usize) -> Self {
        let codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let codings: Vec<String> = codings
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|coding| coding.trim().to_ascii_lowercase())
            .filter(|coding| !coding.is_empty() && coding != "identity")
            .collect();
        Self {
            declared: (!codings.is_empty()).then(|| codings.join(",")),
            received: 0,
            bytes_max,
            state: State::Undecided(Capped::of(bytes_max, capacity)),
        }
    }

    /// Takes in what has come.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), Cut> {
        self.received += chunk.len();
        let result = match &mut self.state {
            State::Undecided(first) => {
                first.write_all(chunk).map_err(|_| Cut::TooLarge)?;
                if first.bytes.len() < GZIP_MAGIC.len() {
                    return Ok(());
                }
                let first = std::mem::replace(first, Capped::of(self.bytes_max, first.bytes.capacity()));
                self.decide(&first.bytes)
            }
            State::Plain(body) => body.write_all(chunk),
            State::Gzip(body) => body.write_all(chunk),
            State::Zlib(body) => body.write_all(chunk),
            State::Deflate(body) => body.write_all(chunk),
        };
        if self.received > self.bytes_max {
            return Err(Cut::TooLarge);
        }
        result.map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull => Cut::TooLarge,
            _ => Cut::Garbled,
        })
    }

    /// By its first bytes, because servers and what stands before them disagree about headers: no text begins like gzip.
    /// `deflate` means zlib, and is often the bare thing. An unknown coding stays as it came, and is then unreadable.
    fn decide(&mut self, first: &[u8]) -> io::Result<()> {
        let inside = Capped::of(self.bytes_max, first.len());
        let is_zlib = first[0] & 0x0f == 8 && u16::from_be_bytes([first[0], first[1]]).is_multiple_of(31);
        let is_text = matches!(first.trim_ascii_start().first(), Some(b'{' | b'<') | None);
        self.state = match self.declared.as_deref() {
            _ if first.starts_with(GZIP_MAGIC) => State::Gzip(Box::new(MultiGzDecoder::new(inside))),
            Some("deflate") if is_zlib => State::Zlib(Box::new(ZlibDecoder::new(inside))),
            Some("deflate") if !is_text => State::Deflate(Box::new(DeflateDecoder::new(inside))),
            _ => State::Plain(inside),
        };
        match &mut self.state {
            State::Undecided(body) | State::Plain(body) => body.write_all(first),
            State::Gzip(body) => body.write_all(first),
            State::Zlib(body) => body.write_all(first),
            State::Deflate(body) => body.write_all(first),
        }
    }

    /// What came, unfolded as far as it goes, and whether something is missing from it.
    pub(super) fn finish(mut self) -> (Zeroizing<Vec<u8>>, Option<Cut>) {
        let (whole, (bytes, is_full)) = match &mut self.state {
            State::Undecided(body) | State::Plain(body) => (Ok(()), body.take()),
            // Flushed first: what the decoder holds back is part of what came.
            State::Gzip(body) => (
                body.flush().and_then(|()| body.try_finish()),
                body.get_mut().take(),
            ),
            State::Zlib(body) => (
                body.flush().and_then(|()| body.try_finish()),
                body.get_mut().take(),
            ),
            State::Deflate(body) => (
                body.flush().and_then(|()| body.try_finish()),
                body.get_mut().take(),
            ),
        };
        let cut = match whole {
            _ if is_full => Some(Cut::TooLarge),
            Ok(()) => None,
            Err(_) => Some(Cut::Garbled),
        };
        (bytes, cut)
    }
}

#[cfg(test)]
mod tests {
    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const TEXT: &[u8] = br#"{"access_token":"a","refresh_token":"canary-rotated","expires_in":3600}"#;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn read(coding: &'static str, body: &[u8], bytes_max: usize, step: usize) -> (Vec<u8>, Option<Cut>) {
        let mut headers = HeaderMap::new();
        if !coding.is_empty() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        let mut incoming = IncomingBody::new(&headers, bytes_max, 100);
        let mut cut = None;
        for chunk in body.chunks(step) {
            cut = incoming.push(chunk).err();
            if cut.is_some() {
                break;
            }
        }
        let (bytes, missing) = incoming.finish();
        (bytes.to_vec(), cut.or(missing))
    }

    #[test]
    fn every_coding_is_unfolded_however_it_is_declared_and_cut_into_pieces() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(TEXT).unwrap();
        let zlib = zlib.finish().unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::default());
        bare.write_all(TEXT).unwrap();
        let bare = bare.finish().unwrap();
        for step in [1, 2, 7, 1000] {
            for (coding, body) in [
                ("gzip", gzip(TEXT)),
                ("X-GZIP", gzip(TEXT)),
                ("identity, gzip", gzip(TEXT)),
                ("", gzip(TEXT)),
                ("deflate", zlib.clone()),
                ("deflate", bare.clone()),
                ("", TEXT.to_vec()),
                ("identity", TEXT.to_vec()),
                ("gzip", TEXT.to_vec()),
                ("deflate", TEXT.to_vec()),
            ] {
                let read = read(coding, &body, 1000, step);
                assert_eq!(read, (TEXT.to_vec(), None), "{coding} by {step}");
            }
        }
        assert_eq!(read("gzip", b"", 1000, 1), (Vec::new(), None));
        assert_eq!(read("gzip", b"{", 1000, 1), (b"{".to_vec(), None));
    }

    #[test]
    fn gzip_and_deflate_bombs_stop_at_the_cap() {
        let flat = vec![b'x'; 50_000_000];
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&flat).unwrap();
        for (coding, bomb) in [("gzip", gzip(&flat)), ("deflate", zlib.finish().unwrap())] {
            let (bytes, cut) = read(coding, &bomb[..60_000.min(bomb.len())], 65_536, 1000);
            assert_eq!((bytes.len(), cut), (65_536, Some(Cut::TooLarge)), "{coding}");
        }
        // Nor may the folded form be longer than an answer may be.
        let (_, cut) = read("", &[b' '; 2000], 1000, 100);
        assert_eq!(cut, Some(Cut::TooLarge));
        let (bytes, cut) = read("gzip", &gzip(&[b'x'; 1000]), 1000, 100);
        assert_eq!((bytes.len(), cut), (1000, None), "the cap itself is no excess");
    }

    proptest! {
        #[test]
        fn what_had_come_before_a_cut_is_unfolded(cut in 0usize..200, step in 1usize..40) {
            let folded = gzip(TEXT);
            let (bytes, missing) = read("gzip", &folded[..cut.min(folded.len())], 1000, step);
            prop_assert!(TEXT.starts_with(&bytes) || cut < 2);
            prop_assert_eq!(missing.is_none(), cut >= folded.len() || cut < 2);
            if cut + 8 >= folded.len() {
                prop_assert_eq!(&bytes[..], TEXT);
            }
        }

        #[test]
        fn no_bytes_panic_or_outgrow_the_cap(body in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..50) {
            for coding in ["gzip", "deflate", "br", ""] {
                let (bytes, _) = read(coding, &body, 64, step);
                prop_assert!(bytes.len() <= 64);
            }
        }
    }
}
