//! Was it sent? The one question that decides whether a failed request may be repeated.
//!
//! The predicates of reqwest's errors cannot tell: a server that accepts and closes looks the same
//! as one that reads the request and closes. So the request's body carries a latch. hyper asks the
//! body for its end, or its data, only once it has a live connection in hand, and before it flushes
//! the first byte of the head. From then on the request may have left. Before that, the client can
//! close the latch; a body whose latch is closed fails, which tears the connection down with
//! nothing flushed. Whoever is first wins, so "not sent" is certain even when a time-out and a free
//! connection meet. This holds for an empty body too, and so for GET.
//!
//! Rests on hyper 1 (`proto/h1/dispatch.rs`, `poll_write`); `tests/it/gateway.rs` measures it.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

const WAITING: u8 = 0;
const STARTED: u8 = 1;
const CLOSED: u8 = 2;

/// The client's side: shared with one request's body.
#[derive(Clone, Default)]
pub(super) struct Latch(Arc<State>);

#[derive(Default)]
struct State {
    step: AtomicU8,
    started_at: OnceLock<Instant>,
}

impl Latch {
    /// Forbids the request to leave from now on. False when it may have left before.
    pub(super) fn close(&self) -> bool {
        self.step(CLOSED)
    }

    /// Marks the request as leaving. False when that has been forbidden.
    fn start(&self) -> bool {
        let started = self.step(STARTED);
        if started {
            self.0.started_at.get_or_init(Instant::now);
        }
        started
    }

    /// When the request began to leave.
    pub(super) fn left_at(&self) -> Option<Instant> {
        self.0.started_at.get().copied()
    }

    fn is_closed(&self) -> bool {
        self.0.step.load(Ordering::Acquire) == CLOSED
    }

    /// Moves from waiting to `to`; true when it is there now.
    fn step(&self, to: u8) -> bool {
        match self.0.step.compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(now) => now == to,
        }
    }
}

/// A body that is sent once, if its latch allows. It cannot be cloned, so nothing can replay it.
pub(super) struct LatchedBody {
    latch: Latch,
    data: Option<Bytes>,
    /// Bytes still to send.
    left: u64,
}

impl LatchedBody {
    /// A body of `data`, which may be empty.
    pub(super) fn new(latch: Latch, data: Bytes) -> Self {
        let left = data.len() as u64;
        LatchedBody { latch, data: Some(data).filter(|data| !data.is_empty()), left }
    }
}

/// The latch was closed: the request must not leave.
#[derive(Debug, thiserror::Error)]
#[error("given up before it was sent")]
pub(super) struct GivenUp;

impl Body for LatchedBody {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        if !self.latch.start() {
            return Poll::Ready(Some(Err(GivenUp)));
        }
        self.left = 0;
        Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.latch.start() && self.data.is_none()
    }

    /// Exact, so that hyper sends a `content-length`; but a forbidden body promises one byte at
    /// least: hyper never polls an empty one, and would send the head without a further question.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(if self.latch.is_closed() { self.left.max(1) } else { self.left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(body: &mut LatchedBody) -> Option<Result<Bytes, GivenUp>> {
        match Pin::new(body).poll_frame(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(frame) => frame.map(|frame| frame.map(|frame| frame.into_data().unwrap())),
            Poll::Pending => panic!("never pending"),
        }
    }

    #[test]
    fn a_body_that_was_asked_for_may_have_left() {
        for data in [&b""[..], b"account=test"] {
            let latch = Latch::default();
            let mut body = LatchedBody::new(latch.clone(), Bytes::from_static(data));
            assert_eq!(body.size_hint().exact(), Some(data.len() as u64));
            assert_eq!(body.is_end_stream(), data.is_empty());
            assert!(!latch.close());
            if !data.is_empty() {
                assert_eq!(poll(&mut body).unwrap().unwrap(), data);
            }
            assert!(poll(&mut body).is_none());
            assert!(body.is_end_stream());
        }
    }

    #[test]
    fn a_closed_latch_keeps_the_body_in() {
        for data in [&b""[..], b"account=test"] {
            let latch = Latch::default();
            let mut body = LatchedBody::new(latch.clone(), Bytes::from_static(data));
            assert!(latch.close());
            assert!(!body.is_end_stream());
            assert_ne!(body.size_hint().exact(), Some(0), "an empty one would not be polled");
            assert!(poll(&mut body).unwrap().is_err());
            assert!(latch.close(), "stays closed");
        }
    }
}
