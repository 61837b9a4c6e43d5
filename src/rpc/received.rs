//! A request's body on its way in: each message is charged with the length that goes before it, before its bytes are kept.
//!
//! Must never pass on a length that was not charged, but one that is refused for itself: whoever reads it makes room for all.
//! Made by `server` for each call, and read by tonic.

use super::budget::Charge;
use super::status::too_much;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tonic::codegen::{Body, Bytes, StdError};

/// The largest message either way, in bytes: above the limits of the fields, so that those are what callers meet.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// A message's bytes are held twice: as they came, and as the fields that they are.
const COPIES: usize = 2;

/// The body of a request whose call is charged.
#[derive(Debug)]
pub struct Received {
    body: hyper::body::Incoming,
    charge: Arc<Charge>,
    lengths: Lengths,
    /// What was charged for messages so far: the room of one is used for the next.
    charged: usize,
}

impl Received {
    /// The body of a call that is charged there.
    #[must_use]
    pub fn new(body: hyper::body::Incoming, charge: Arc<Charge>) -> Self {
        Self { body, charge, lengths: Lengths::default(), charged: 0 }
    }

    fn charge_for(&mut self, bytes: &[u8]) -> Result<(), StdError> {
        let longest = self.lengths.longest_in(bytes);
        let more = longest.saturating_mul(COPIES).saturating_sub(self.charged);
        // One that is over the limit is refused by its length alone.
        if longest > MAX_MESSAGE_BYTES || more == 0 {
            return Ok(());
        }
        self.charge.take(more).map_err(|_spent| too_much())?;
        self.charged += more;
        Ok(())
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, StdError>>> {
        let this = self.get_mut();
        let frame = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            Some(Ok(frame)) => frame,
        };
        let charged = frame.data_ref().map_or(Ok(()), |bytes| this.charge_for(bytes));
        Poll::Ready(Some(charged.map(|()| frame)))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// Where in a row of messages a body is. Source: gRPC over HTTP/2, "Length-Prefixed-Message": a flag, and four bytes of length.
#[derive(Debug, Default)]
struct Lengths {
    /// The length that is being read, and how many of the five bytes are there.
    length: u32,
    seen: u8,
    /// Bytes of the message that are still to come.
    left: usize,
}

impl Lengths {
    const PREFIX: u8 = 5;

    /// The longest message of those whose length ends in these bytes; 0 if none does.
    fn longest_in(&mut self, mut bytes: &[u8]) -> usize {
        let mut longest = 0;
        loop {
            let (passed, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.left -= passed.len();
            let Some((byte, rest)) = rest.split_first() else { return longest };
            // The flag is shifted out by the four bytes that follow it.
            self.length = self.length << 8 | u32::from(*byte);
            self.seen += 1;
            bytes = rest;
            if self.seen == Self::PREFIX {
                self.left = usize::try_from(self.length).unwrap_or(usize::MAX);
                longest = longest.max(self.left);
                (self.length, self.seen) = (0, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32) -> Vec<u8> {
        [&[1], length.to_be_bytes().as_slice(), &vec![0xff; usize::try_from(length).unwrap()]].concat()
    }

    #[test]
    fn each_length_is_found_where_it_ends_however_the_bytes_are_cut() {
        let lengths = [0, 3, 70_000, 1, 0, 256];
        let bytes: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
        for cut in [1, 2, 3, 4, 5, 7, 1000, bytes.len()] {
            let mut reader = Lengths::default();
            let found: Vec<usize> = bytes.chunks(cut).map(|piece| reader.longest_in(piece)).collect();
            assert_eq!(found.iter().max(), Some(&70_000), "{cut}");
            assert_eq!((reader.left, reader.seen), (0, 0), "{cut}");
            if cut == 1 {
                let told: Vec<_> = found.into_iter().filter(|length| *length > 0).collect();
                assert_eq!(told, [3, 70_000, 1, 256]);
            }
        }
    }

    #[test]
    fn the_longest_length_there_is_is_told_as_it_is() {
        let mut reader = Lengths::default();
        assert_eq!(reader.longest_in(&[7, 0xff, 0xff, 0xff]), 0);
        assert_eq!(reader.longest_in(&[0xff, 1, 2]), usize::try_from(u32::MAX).unwrap());
    }
}
