//! Calls of gRPC with one message and one answer, as they lie on the wire.
//!
//! Tonic serves streams here. What it does for a single message (a buffer of its own for each direction, and a stream of
//! answers) takes a fifth of the processor's time of a small request.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::Frame;
use prost::Message;
use tonic::Status;

use super::{
    blocking,
    grpc::GRPC_STATUS,
    packed::{ENCODING, PREFIX_BYTES, is_known},
};
use crate::{
    error::ApiError,
    request::{inflated, read},
};

/// The message of a call.
pub(super) async fn message<I: Message + Default>(
    headers: &HeaderMap,
    body: Body,
    bytes_max: u64,
) -> Result<I, ApiError> {
    let body = read(headers, body, bytes_max.saturating_add(PREFIX_BYTES as u64)).await?;
    let Some((&[packed, length @ ..], rest)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(ApiError::bad(format!("a call has one message; {} bytes came", body.len())));
    };
    let length = u32::from_be_bytes(length);
    if u64::from(length) > bytes_max {
        return Err(ApiError::too_large(format!(
            "a message of {length} bytes was sent, and {bytes_max} is the most there may be"
        )));
    }
    if rest.len() != length as usize {
        let message = format!("a call has one message; this one says it has {length} bytes, and {} came", rest.len());
        return Err(ApiError::bad(message));
    }
    let mut message = body.slice(PREFIX_BYTES..);
    match (packed, headers.get(ENCODING).filter(|name| is_known(name))) {
        (0, _) => {}
        (1, Some(encoding)) => {
            let encoding = encoding.clone();
            message = blocking(move || inflated(&encoding, &message, bytes_max)).await?;
        }
        (1, None) => return Err(ApiError::bad("the message is compressed, and grpc-encoding does not say how")),
        _ => return Err(ApiError::bad(format!("a message begins with 0 or 1, not with {packed}"))),
    }
    // What is raw in it is a part of the same memory rather than a copy.
    I::decode(message).map_err(|error| ApiError::bad(format!("the message does not read: {error}")))
}

/// Messages that are packed in a way nobody here knows.
pub(super) fn unknown_encoding(headers: &HeaderMap) -> Option<Status> {
    let name = headers.get(ENCODING).filter(|name| !is_known(name) && *name != "identity")?;
    Some(Status::unimplemented(format!("messages packed as {name:?} are not read here; gzip and deflate are")))
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
    use crate::oip::messages::{ModelRequest, Yes};

    fn framed(packed: u8, length: u32, message: &[u8]) -> Body {
        [&[packed][..], &length.to_be_bytes(), message].concat().into()
    }

    async fn read_one(headers: &HeaderMap, body: Body, bytes_max: u64) -> Result<String, String> {
        let read = message::<ModelRequest>(headers, body, bytes_max).await;
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
            (framed(0, 101, &plain), "413: a message of 101 bytes was sent, and 100 is the most there may be"),
        ];
        for (body, told) in wrong {
            assert_eq!(read_one(&none, body, 100).await, Err(told.into()));
        }
        let unread = read_one(&none, framed(0, 2, &[0xff, 0xff]), 100).await.unwrap_err();
        assert!(unread.starts_with("400: the message does not read: "), "{unread}");
        let long = read_one(&none, framed(0, 200, &[0; 200]), 100).await.unwrap_err();
        assert!(long.starts_with("413: "), "{long}");
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
