//! The W3C trace that a publisher began, <https://www.w3.org/TR/trace-context/#traceparent-header>.

/// Where a trace is continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: [u8; 16],
    /// The publisher's span.
    pub span: [u8; 8],
    /// The publisher records it.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads a valid `traceparent`, as [`decode`](super::message::decode) lets it through.
    pub fn parse(text: &str) -> Option<TraceParent> {
        let mut parts = text.split('-').skip(1);
        let (trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?);
        Some(TraceParent {
            trace: u128::from_str_radix(trace, 16).ok()?.to_be_bytes(),
            span: u64::from_str_radix(span, 16).ok()?.to_be_bytes(),
            sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read() {
        let read = TraceParent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        assert_eq!((read.trace[0], read.trace[15], read.span[0], read.sampled), (0x0a, 0x9c, 0xb7, true));
        let unsampled = TraceParent::parse("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-fe-x").unwrap();
        assert!(!unsampled.sampled);
        assert_eq!(TraceParent::parse("00-xyz"), None);
    }
}
