//! Messages of a stream of gRPC that their client made smaller.
//!
//! Tonic could unpack them, but what it asks of the library for that would have Parquet and DataFusion built twice.

use axum::{body::Body, extract::Request, http::HeaderValue};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream::try_unfold};
use tonic::Status;

use super::grpc::status_of;
use crate::request::inflated;

/// How each message begins: whether it is packed, and its length.
pub(super) const PREFIX_BYTES: usize = 5;
pub(super) const ENCODING: &str = "grpc-encoding";

pub(super) fn is_known(encoding: &HeaderValue) -> bool {
    encoding == "gzip" || encoding == "deflate"
}

/// The request with its messages as they were before. What is packed in a way that is not known is left as it is.
pub(super) fn unpacked(mut request: Request, bytes_max: u64) -> Request {
    let Some(encoding) = request.headers().get(ENCODING).filter(|name| is_known(name)).cloned() else {
        return request;
    };
    request.headers_mut().remove(ENCODING);
    request.map(|body| Body::from_stream(messages(body, encoding, bytes_max)))
}

fn messages(body: Body, encoding: HeaderValue, bytes_max: u64) -> impl Stream<Item = Result<Bytes, Status>> {
    try_unfold((body.into_data_stream(), BytesMut::new()), move |(mut body, mut come)| {
        let encoding = encoding.clone();
        async move {
            loop {
                if let Some(whole) = take(&mut come, &encoding, bytes_max)? {
                    return Ok(Some((whole, (body, come))));
                }
                match body.next().await {
                    Some(Ok(more)) => come.extend_from_slice(&more),
                    Some(Err(error)) => return Err(Status::invalid_argument(format!("the body broke off: {error}"))),
                    // What is left is for the reader to complain of.
                    None if come.is_empty() => return Ok(None),
                    None => return Ok(Some((come.split().freeze(), (body, come)))),
                }
            }
        }
    })
}

/// The first message that has come as a whole, unpacked.
fn take(come: &mut BytesMut, encoding: &HeaderValue, bytes_max: u64) -> Result<Option<Bytes>, Status> {
    let Some((&[packed, length @ ..], _)) = come.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes(length);
    if u64::from(length) > bytes_max {
        let message = format!("a message of {length} bytes was sent, and {bytes_max} is the most there may be");
        return Err(Status::resource_exhausted(message));
    }
    let whole = PREFIX_BYTES + length as usize;
    if come.len() < whole {
        return Ok(None);
    }
    let mut message = come.split_to(whole).freeze();
    if packed != 1 {
        return Ok(Some(message));
    }
    message.advance(PREFIX_BYTES);
    let message = inflated(encoding, &message, bytes_max).map_err(|error| status_of(&error))?;
    let mut plain = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    plain.put_u8(0);
    plain.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    plain.extend_from_slice(&message);
    Ok(Some(plain.freeze()))
}
