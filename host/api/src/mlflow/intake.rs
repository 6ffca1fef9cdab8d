//! Bodies on their way in: how much of them may be in memory, and how long they may take.

use std::{ops::Deref, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::StatusCode,
};
use futures_util::{Stream, StreamExt};
use plinth_core::RequestLimits;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use super::MlflowError;

/// What a body may have in memory without asking for room: as many connections as there may be hold no more than some
/// hundreds of mebibytes this way, and few requests are larger.
const FREE_BYTES: usize = 64 << 10;
/// Room is counted in these.
const UNIT: usize = 1 << 10;
/// Room that is asked for at once.
const STEP: usize = 1 << 20;

/// What all bodies share.
#[derive(Debug)]
pub(super) struct Intake {
    room: Arc<Semaphore>,
    body_max: Duration,
    stall_max: Duration,
    piece_min: u64,
}

/// A body that came whole. Its room is given back when it is dropped.
pub(super) struct Whole {
    bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Deref for Whole {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

impl Intake {
    pub(super) fn new(limits: &RequestLimits) -> Self {
        let units = usize::try_from(limits.bodies_bytes_max).unwrap_or(usize::MAX) / UNIT;
        Self {
            room: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
            body_max: Duration::from_millis(limits.body_ms_max),
            stall_max: Duration::from_millis(limits.upload_stall_ms_max),
            piece_min: limits.upload_piece_bytes_min,
        }
    }

    /// Reads a body to its end.
    pub(super) async fn whole(&self, body: Body, bytes_max: usize) -> Result<Whole, MlflowError> {
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(too_large(bytes_max));
        }
        timeout(self.body_max, self.collect(body, bytes_max)).await.unwrap_or_else(|_| Err(too_slow(self.body_max)))
    }

    async fn collect(&self, body: Body, bytes_max: usize) -> Result<Whole, MlflowError> {
        let mut stream = body.into_data_stream();
        let Some(first) = stream.next().await else { return Ok(Whole { bytes: Bytes::new(), _room: None }) };
        let first = first.map_err(|error| broke_off(&error))?;
        let mut room: Option<OwnedSemaphorePermit> = None;
        let mut held = FREE_BYTES;
        let mut grow = |bytes: usize| {
            if bytes > bytes_max {
                return Err(too_large(bytes_max));
            }
            while held < bytes {
                let more = Arc::clone(&self.room).try_acquire_many_owned((STEP / UNIT) as u32);
                let more = more.map_err(|_| no_room())?;
                match &mut room {
                    Some(room) => room.merge(more),
                    None => room = Some(more),
                }
                held += STEP;
            }
            Ok(())
        };
        grow(first.len())?;
        let Some(second) = stream.next().await else { return Ok(Whole { bytes: first, _room: room }) };
        let mut bytes = Vec::from(first);
        let mut next = Some(second);
        while let Some(piece) = next {
            let piece = piece.map_err(|error| broke_off(&error))?;
            grow(bytes.len() + piece.len())?;
            bytes.extend_from_slice(&piece);
            next = stream.next().await;
        }
        Ok(Whole { bytes: bytes.into(), _room: room })
    }

    /// Watches over a file that comes piece by piece.
    pub(super) fn pace(&self) -> Pace {
        let (stall_max, piece_min) = (self.stall_max, self.piece_min);
        Pace { stall_max, piece_min, deadline: Instant::now() + stall_max, came: 0 }
    }
}

/// How a file comes: each piece of some size has its time, the whole has not.
#[derive(Debug)]
pub(super) struct Pace {
    stall_max: Duration,
    piece_min: u64,
    deadline: Instant,
    came: u64,
}

impl Pace {
    /// What comes next, if it comes in time.
    pub(super) async fn next<E>(
        &mut self,
        stream: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    ) -> Result<Option<Result<Bytes, E>>, MlflowError> {
        let next = timeout_at(self.deadline, stream.next()).await.map_err(|_| too_slow(self.stall_max))?;
        if let Some(Ok(piece)) = &next {
            self.came += piece.len() as u64;
            if self.came >= self.piece_min {
                self.came = 0;
                self.deadline = Instant::now() + self.stall_max;
            }
        }
        Ok(next)
    }
}

fn too_large(bytes_max: usize) -> MlflowError {
    let message = format!("the body is larger than the {bytes_max} bytes allowed");
    MlflowError::new(StatusCode::PAYLOAD_TOO_LARGE, "INVALID_PARAMETER_VALUE", message)
}

fn broke_off(error: &axum::Error) -> MlflowError {
    MlflowError::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", format!("the body broke off: {error}"))
}

fn too_slow(most: Duration) -> MlflowError {
    let message = format!("the body came too slowly: less than is expected in {} s", most.as_secs_f64());
    MlflowError::new(StatusCode::REQUEST_TIMEOUT, "DEADLINE_EXCEEDED", message)
}

fn no_room() -> MlflowError {
    let message = "the server reads as many large requests as it can hold; try again in a moment";
    MlflowError::new(StatusCode::SERVICE_UNAVAILABLE, "TEMPORARILY_UNAVAILABLE", message).retry_after(1)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn body(pieces: Vec<usize>) -> Body {
        let pieces = pieces.into_iter().map(|bytes| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; bytes])));
        Body::from_stream(stream::iter(pieces))
    }

    fn intake(change: impl FnOnce(&mut RequestLimits)) -> Intake {
        let mut limits = RequestLimits::default();
        change(&mut limits);
        Intake::new(&limits)
    }

    #[tokio::test]
    async fn bodies_share_what_room_there_is() {
        let intake = intake(|limits| limits.bodies_bytes_max = 4 << 20);
        let status =
            |outcome: Result<Whole, MlflowError>| outcome.map(|whole| whole.len()).map_err(|e| e.status.as_u16());
        let held = intake.whole(body(vec![1 << 20; 3]), 64 << 20).await;
        let held = held.unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(status(intake.whole(body(vec![1 << 20; 3]), 64 << 20).await), Err(503));
        // Small ones need no room.
        assert_eq!(status(intake.whole(body(vec![1 << 10; 3]), 64 << 20).await), Ok(3 << 10));
        drop(held);
        assert_eq!(status(intake.whole(body(vec![1 << 20; 3]), 64 << 20).await), Ok(3 << 20));
        assert_eq!(status(intake.whole(body(vec![100, 100]), 150).await), Err(413));
        assert_eq!(status(intake.whole(Body::from(vec![0; 151]), 150).await), Err(413));
        assert_eq!(status(intake.whole(Body::empty(), 0).await), Ok(0));
        assert_eq!(intake.room.available_permits(), (4 << 20) / UNIT);
    }

    #[tokio::test]
    async fn what_comes_too_slowly_is_given_up() {
        let intake = intake(|limits| (limits.body_ms_max, limits.upload_stall_ms_max) = (1_000, 1_000));
        let slow = |piece: usize| {
            let pieces = stream::unfold(0, move |at| async move {
                tokio::time::sleep(Duration::from_millis(150)).await;
                (at < 10).then(|| (Ok::<_, std::io::Error>(Bytes::from(vec![0; piece])), at + 1))
            });
            Box::pin(pieces)
        };
        let outcome = intake.whole(Body::from_stream(slow(1)), 1 << 20).await;
        assert_eq!(outcome.err().map(|error| error.status.as_u16()), Some(408));
        // A long upload goes on as long as it makes progress.
        for (piece, wanted) in [(1, Some(408)), (64 << 10, None)] {
            let (mut pace, mut stream) = (intake.pace(), slow(piece));
            let refused = loop {
                match pace.next(&mut stream).await {
                    Ok(Some(_)) => {}
                    Ok(None) => break None,
                    Err(error) => break Some(error.status.as_u16()),
                }
            };
            assert_eq!(refused, wanted, "{piece}");
        }
    }
}
