//! Calls of gRPC with one message and one answer, as they lie on the wire.
//!
//! Tonic serves streams here. What it does for a single message (a buffer of its own for each direction, and a stream of
//! answers) took a tenth of the processor's time of a small request.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use hyper::body::Frame;
use prost::{
    Message,
    encoding::{WireType, decode_key, decode_varint},
};
use tonic::{Status, metadata::MetadataValue};

use super::{
    blocking,
    grpc::GRPC_STATUS,
    packed::{ENCODING, PREFIX_BYTES, is_known},
};
use crate::{
    error::ApiError,
    request::{inflated, read},
};

/// A message of more bytes is decoded where that holds up nobody.
const DECODED_BYTES_MAX: usize = 64 << 10;
/// What a tensor of a message counts for; it is as large in memory as so many values.
const TENSOR_PARTS: u64 = 16;
/// The field of a request with its inputs, and of an input with its values, which come one by one.
const NESTED: u32 = 5;
const NESTED_DEPTH: u8 = 2;

/// The message of a call.
pub(super) async fn message<I: Message + Default + 'static>(
    headers: &HeaderMap,
    body: Body,
    bytes_max: u64,
    parts_max: u32,
) -> Result<I, ApiError> {
    let too_large = |bytes: u64| {
        let hint = "send fewer rows at a time, or raise limits.serve.body-bytes-max";
        ApiError::too_large(format!("the message is larger than {bytes} bytes; {hint}"))
    };
    let body = read(headers, body, bytes_max.saturating_add(PREFIX_BYTES as u64)).await;
    let body = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(bytes_max),
        _ => error,
    })?;
    let Some((&[packed, length @ ..], rest)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(ApiError::bad(format!("a call has one message; {} bytes came", body.len())));
    };
    let length = u32::from_be_bytes(length);
    if u64::from(length) > bytes_max {
        return Err(too_large(bytes_max));
    }
    if rest.len() != length as usize {
        let message = format!("a call has one message; this one says it has {length} bytes, and {} came", rest.len());
        return Err(ApiError::bad(message));
    }
    let message = body.slice(PREFIX_BYTES..);
    match (packed, headers.get(ENCODING).filter(|name| is_known(name)).cloned()) {
        (0, _) if message.len() <= DECODED_BYTES_MAX => decoded(message, parts_max),
        (0, _) => blocking(move || decoded(message, parts_max)).await,
        (1, Some(encoding)) => blocking(move || decoded(inflated(&encoding, &message, bytes_max)?, parts_max)).await,
        (1, None) => Err(ApiError::bad("the message is compressed, and grpc-encoding does not say how")),
        _ => Err(ApiError::bad(format!("a message begins with 0 or 1, not with {packed}"))),
    }
}

/// A message of so many parts at most; what is raw in it is a part of the same memory rather than a copy.
pub(super) fn decoded<I: Message + Default>(message: Bytes, parts_max: u32) -> Result<I, ApiError> {
    let mut left = u64::from(parts_max);
    count(&message, 0, &mut left)?;
    I::decode(message).map_err(|error| ApiError::bad(format!("the message does not read: {error}")))
}

/// Walks over the fields of a message, and of those in it that hold one field for each value, before anything is made of
/// them: two bytes may become hundreds in memory. What is malformed is for the decoder to tell.
fn count(mut message: &[u8], depth: u8, left: &mut u64) -> Result<(), ApiError> {
    while message.has_remaining() {
        let Ok((tag, wire)) = decode_key(&mut message) else { return Ok(()) };
        let parts = if depth == 0 { TENSOR_PARTS } else { 1 };
        *left = left.checked_sub(parts).ok_or_else(|| {
            ApiError::too_large(
                "the message has more parts than `limits.serve.message-parts-max` allows; send values as \
                 raw_input_contents, or fewer rows at a time",
            )
        })?;
        let bytes = match wire {
            WireType::Varint => {
                if decode_varint(&mut message).is_err() {
                    return Ok(());
                }
                0
            }
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::LengthDelimited => match decode_varint(&mut message).map(usize::try_from) {
                Ok(Ok(bytes)) => bytes,
                _ => return Ok(()),
            },
            WireType::StartGroup | WireType::EndGroup => return Ok(()),
        };
        let Some((field, rest)) = message.split_at_checked(bytes) else { return Ok(()) };
        if wire == WireType::LengthDelimited && tag == NESTED && depth < NESTED_DEPTH {
            count(field, depth + 1, left)?;
        }
        message = rest;
    }
    Ok(())
}

/// Messages that are packed in a way nobody here knows.
pub(super) fn unknown_encoding(headers: &HeaderMap) -> Option<Status> {
    let name = headers.get(ENCODING).filter(|name| !is_known(name) && *name != "identity")?;
    let mut status =
        Status::unimplemented(format!("messages packed as {name:?} are not read here; gzip and deflate are"));
    status.metadata_mut().insert("grpc-accept-encoding", MetadataValue::from_static("identity,gzip,deflate"));
    Some(status)
}

/// One message and that all is well.
pub(super) fn answer(message: &[u8]) -> Response {
    let Ok(length) = u32::try_from(message.len()) else {
        return Status::resource_exhausted("the answer has more bytes than a message can").into_http::<Body>();
    };
    let mut whole = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    whole.put_u8(0);
    whole.put_u32(length);
    whole.put_slice(message);
    let kind = HeaderValue::from_static("application/grpc");
    ([(header::CONTENT_TYPE, kind)], Body::new(Answer::Message(whole.freeze()))).into_response()
}

/// What is still to be sent of an answer.
enum Answer {
    Message(Bytes),
    Status,
    Nothing,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(match std::mem::replace(&mut *self, Self::Nothing) {
            Self::Message(message) => {
                *self = Self::Status;
                Some(Ok(Frame::data(message)))
            }
            Self::Status => {
                let ok = (GRPC_STATUS.clone(), HeaderValue::from_static("0"));
                Some(Ok(Frame::trailers(HeaderMap::from_iter([ok]))))
            }
            Self::Nothing => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oip::messages::{Contents, InferRequest, InputTensor, ModelRequest, Yes};

    fn framed(packed: u8, length: u32, message: &[u8]) -> Body {
        [&[packed][..], &length.to_be_bytes(), message].concat().into()
    }

    async fn read_one(headers: &HeaderMap, body: Body, bytes_max: u64) -> Result<String, String> {
        let read = message::<ModelRequest>(headers, body, bytes_max, 100).await;
        read.map(|asked| asked.name).map_err(|error| format!("{}: {}", error.status().as_u16(), error.message()))
    }

    #[tokio::test]
    async fn a_call_has_exactly_one_message() {
        let plain = ModelRequest { name: "forest".into(), version: String::new() }.encode_to_vec();
        let length = plain.len() as u32;
        let none = HeaderMap::new();
        assert_eq!(read_one(&none, framed(0, length, &plain), 100).await, Ok("forest".into()));
        // A message as long as may be.
        assert_eq!(read_one(&none, framed(0, length, &plain), u64::from(length)).await, Ok("forest".into()));
        let wrong = [
            (Body::empty(), "400: a call has one message; 0 bytes came"),
            (vec![0, 0, 0].into(), "400: a call has one message; 3 bytes came"),
            (framed(0, length + 1, &plain), "400: a call has one message; this one says it has 9 bytes, and 8 came"),
            (framed(0, length - 1, &plain), "400: a call has one message; this one says it has 7 bytes, and 8 came"),
            (framed(1, length, &plain), "400: the message is compressed, and grpc-encoding does not say how"),
            (framed(7, length, &plain), "400: a message begins with 0 or 1, not with 7"),
        ];
        for (body, told) in wrong {
            assert_eq!(read_one(&none, body, 100).await, Err(told.into()));
        }
        let unread = read_one(&none, framed(0, 2, &[0xff, 0xff]), 100).await.unwrap_err();
        assert!(unread.starts_with("400: the message does not read: "), "{unread}");
        for long in [framed(0, 200, &[0; 200]), framed(0, 101, &plain)] {
            let long = read_one(&none, long, 100).await.unwrap_err();
            assert!(long.starts_with("413: the message is larger than 100 bytes; send fewer"), "{long}");
        }
    }

    #[test]
    fn parts_are_counted_before_they_are_made() {
        let tensor = |values| InputTensor {
            contents: Some(Contents { bytes: vec![Bytes::new(); values], ..Contents::default() }),
            ..InputTensor::default()
        };
        let parts_of = |inputs: Vec<InputTensor>| {
            let message = Bytes::from(InferRequest { inputs, ..InferRequest::default() }.encode_to_vec());
            // The fewest parts that it may have.
            (0..10_000).find(|most| decoded::<InferRequest>(message.clone(), *most).is_ok()).unwrap()
        };
        assert_eq!(parts_of(vec![InputTensor::default(); 3]), 48);
        assert_eq!(parts_of(vec![tensor(0), tensor(0)]), 34);
        assert_eq!(parts_of(vec![tensor(70), tensor(5)]), 34 + 75);
        let error = decoded::<InferRequest>(Bytes::from_static(&[0x2a, 0, 0x2a, 0]), 31).unwrap_err();
        assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert!(error.message().contains("message-parts-max"), "{}", error.message());
        // What is cut off anywhere is told by the decoder, whatever was counted.
        let whole = InferRequest { inputs: vec![tensor(3)], ..InferRequest::default() }.encode_to_vec();
        for cut in 1..whole.len() {
            let message = Bytes::copy_from_slice(&whole[..cut]);
            let outcome = decoded::<InferRequest>(message, 100);
            assert!(outcome.is_err_and(|error| error.status() == StatusCode::BAD_REQUEST), "{cut}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_a_message_and_then_a_status() {
        let response = answer(&Yes { yes: true }.encode_to_vec());
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/grpc");
        let mut body = response.into_body();
        let mut frames = Vec::new();
        while !body.is_end_stream() {
            let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            frames.push(frame.unwrap().unwrap());
        }
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].data_ref().unwrap().as_ref(), [0, 0, 0, 0, 2, 8, 1]);
        assert_eq!(frames[1].trailers_ref().unwrap()[&GRPC_STATUS], "0");
    }
}
