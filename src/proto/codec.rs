//! The gRPC codec: prost's encoding, with a fixed answer to a message that does not parse.
//!
//! Must never put a part of a message, or the name of one of its fields, into an error.
//! Called by the generated stubs of both sides.

use prost::Message;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// The text of the answer to a message that does not parse.
pub const MALFORMED: &str = "malformed request: not a message of this RPC";

/// What each message is given room for at first, each way: a secret of 1 KiB with what belongs to it. One that needs more
/// is given as much as it needs. tonic's own 8 KiB are allocated and, being freed, wiped for each call.
const FIRST_BUFFER_BYTES: usize = 2 * 1024;
/// As tonic has it: how many encoded bytes of a stream are collected before they are sent.
const YIELD_BYTES: usize = 32 * 1024;

/// A codec whose errors say nothing of the message.
///
/// prost's own error names the field at fault, and tonic answers with it as INTERNAL.
pub struct StrictCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for StrictCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for StrictCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = StrictEncoder<T>;
    type Decoder = StrictDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        StrictEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        StrictDecoder(PhantomData)
    }
}

/// The encoding half of [`StrictCodec`].
pub struct StrictEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for StrictEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.encoded_len());
        item.encode(buffer).map_err(|_| Status::internal("answer too large to encode"))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(FIRST_BUFFER_BYTES, YIELD_BYTES)
    }
}

/// The decoding half of [`StrictCodec`].
pub struct StrictDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for StrictDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(buffer).map(Some).map_err(|_| Status::invalid_argument(MALFORMED))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(FIRST_BUFFER_BYTES, YIELD_BYTES)
    }
}
