//! What is to be answered instead of the gateway's own judgement: by a test's script, or by chance.

use std::time::Duration;

use super::options::Faults;
use super::reply::Reply;

/// One answer of a test's script for a number.
#[derive(Debug, Clone)]
pub enum Scripted {
    /// A well-formed reply in the format asked for. Code 2 comes with a fresh smsid, and with a receipt
    /// where receipts are on; nothing is billed.
    Code(i64, String),
    /// Any HTTP answer.
    Raw {
        /// The HTTP status.
        status: u16,
        /// The `Content-Type`.
        content_type: String,
        /// The body, as it is.
        body: Vec<u8>,
    },
    /// No answer; the connection stays open until the client gives up.
    Hang,
    /// The connection is reset (TCP RST).
    ResetAfterRead,
    /// The connection is closed in good order (TCP FIN).
    CloseBeforeReply,
    /// What follows, but later.
    Delay(Duration, Box<Scripted>),
    /// What the gateway would answer by itself.
    Normal,
    /// The message is judged, and if right taken (billed, counted, a receipt pushed), but the client is
    /// answered like this: an outcome that the client cannot know.
    Judged(Box<Scripted>),
}

/// What the connection does with a request that was read.
#[derive(Debug)]
pub enum Answer {
    /// A reply of the gateway.
    Reply(Reply),
    /// Any HTTP answer.
    Raw {
        /// The HTTP status.
        status: u16,
        /// The `Content-Type`.
        content_type: String,
        /// The body.
        body: Vec<u8>,
    },
    /// Silence until the client closes.
    Hang,
    /// TCP RST.
    Reset,
    /// TCP FIN.
    Close,
    /// The head and half the body of a reply, then TCP FIN.
    Cut(Reply),
    /// Bytes that are no HTTP, then TCP FIN.
    Garbage,
}

/// A fault drawn by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This code instead of a judgement.
    Code(i64),
    /// Taken, then silence.
    Hang,
    /// Taken, then TCP RST.
    Reset,
    /// Taken, then half an answer.
    Cut,
    /// HTTP 500.
    Http500,
    /// An HTML page with HTTP 200.
    Html,
    /// No HTTP at all.
    Garbage,
}

impl Faults {
    /// Draws what goes wrong with one submit. `reset_before` is not among it: it strikes earlier.
    pub fn draw(&self, rng: &mut fastrand::Rng) -> Option<Fault> {
        let shares = [
            (Fault::Hang, self.hang),
            (Fault::Reset, self.reset),
            (Fault::Cut, self.cut),
            (Fault::Http500, self.http_500),
            (Fault::Html, self.html),
            (Fault::Garbage, self.garbage),
        ];
        let codes = self.codes.iter().map(|(code, share)| (Fault::Code(*code), *share));
        let mut point = rng.f64();
        codes.chain(shares).find_map(|(fault, share)| {
            point -= share;
            (point < 0.0).then_some(fault)
        })
    }
}
