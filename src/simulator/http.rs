//! HTTP/1.1 as far as the gateway needs it, by hand: so that an answer can be broken at any byte, and
//! so that a benchmark measures the dispatcher and not its simulator.

use std::borrow::Cow;
use std::io::Write as _;

/// A request's line and headers may have this many bytes; the same again and more for its body.
const HEAD_MAX: usize = 16 * 1024;
const BODY_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 64;

/// One request, borrowed from the connection's buffer.
#[derive(Debug)]
pub struct Request<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// Up to the `?`.
    pub path: &'a str,
    /// After the `?`; empty without one.
    pub query: &'a [u8],
    /// The `Host` header; empty without one.
    pub host: &'a [u8],
    /// Whether the body is declared a form.
    pub is_form: bool,
    /// The body, chunks joined.
    pub body: Cow<'a, [u8]>,
    /// Whether the client wants to send more on this connection.
    pub keep_alive: bool,
}

/// What the buffer holds so far.
#[derive(Debug)]
pub enum Parsed<'a> {
    /// A request, and how many bytes it took.
    Request(Request<'a>, usize),
    /// Not yet one. With `true` the client waits for `100 Continue` before it sends the body.
    Partial(bool),
    /// Never one: the status to close the connection with.
    Bad(u16),
}

/// Reads one request off the front of `buffer`.
pub fn parse(buffer: &[u8]) -> Parsed<'_> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let head_length = match head.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if buffer.len() <= HEAD_MAX => return Parsed::Partial(false),
        Ok(httparse::Status::Partial) => return Parsed::Bad(431),
        Err(_) => return Parsed::Bad(400),
    };
    let facts = match HeadFacts::read(&head) {
        Ok(facts) => facts,
        Err(status) => return Parsed::Bad(status),
    };
    let after_head = &buffer[head_length..];
    let (body, body_length) = match facts.body(after_head) {
        Ok(Some(found)) => found,
        Ok(None) => return Parsed::Partial(facts.expects_continue && after_head.is_empty()),
        Err(status) => return Parsed::Bad(status),
    };
    let target = head.path.unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request = Request {
        method: head.method.unwrap_or_default(),
        path: without_authority(path),
        query: query.as_bytes(),
        host: facts.host,
        is_form: facts.is_form,
        body,
        keep_alive: facts.keep_alive.unwrap_or(head.version == Some(1)),
    };
    Parsed::Request(request, head_length + body_length)
}

/// A proxy's absolute form, `http://host/path`, means its path.
fn without_authority(path: &str) -> &str {
    match path.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => path,
    }
}

/// A body, and how many bytes of the wire it took.
type Body<'a> = (Cow<'a, [u8]>, usize);

/// What the headers say.
#[derive(Default)]
struct HeadFacts<'a> {
    host: &'a [u8],
    is_form: bool,
    length: usize,
    chunked: bool,
    keep_alive: Option<bool>,
    expects_continue: bool,
}

impl<'a> HeadFacts<'a> {
    fn read(head: &httparse::Request<'_, 'a>) -> Result<Self, u16> {
        let mut facts = Self::default();
        for header in head.headers.iter() {
            let value = header.value.trim_ascii();
            if header.name.eq_ignore_ascii_case("host") {
                facts.host = value;
            } else if header.name.eq_ignore_ascii_case("content-type") {
                facts.is_form = is_form(value);
            } else if header.name.eq_ignore_ascii_case("content-length") {
                let length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
                facts.length = length.ok_or(400_u16)?;
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                facts.chunked = value.eq_ignore_ascii_case(b"chunked");
            } else if header.name.eq_ignore_ascii_case("connection") {
                facts.keep_alive = Some(!value.eq_ignore_ascii_case(b"close"));
            } else if header.name.eq_ignore_ascii_case("expect") {
                facts.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
            }
        }
        if facts.length > BODY_MAX { Err(413) } else { Ok(facts) }
    }

    /// The body; `None` until it is all there.
    fn body(&self, wire: &'a [u8]) -> Result<Option<Body<'a>>, u16> {
        if self.chunked {
            let joined = join_chunks(wire)?;
            return Ok(joined.map(|(body, length)| (Cow::Owned(body), length)));
        }
        Ok(wire.get(..self.length).map(|body| (Cow::Borrowed(body), self.length)))
    }
}

/// The media type only counts up to its parameters.
fn is_form(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

/// Joins the chunks at the front of `wire`; trailers are not known here.
pub fn join_chunks(wire: &[u8]) -> Result<Option<(Vec<u8>, usize)>, u16> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (line, size) = match httparse::parse_chunk_size(&wire[at..]) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(400),
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > BODY_MAX || body.len() + size > BODY_MAX {
            return Err(413);
        }
        let data = at + line;
        let Some(chunk) = wire.get(data..data + size + 2) else {
            return Ok(None);
        };
        if !chunk.ends_with(b"\r\n") {
            return Err(400);
        }
        body.extend_from_slice(&chunk[..size]);
        at = data + size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

/// Appends a response's head to `out`.
pub fn write_head(out: &mut Vec<u8>, status: u16, content_type: &str, length: usize, keep_alive: bool) {
    let connection = if keep_alive { "" } else { "Connection: close\r\n" };
    // Writing to a Vec cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n{connection}\r\n",
        reason(status),
    );
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        302 => "Found",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(wire: &[u8]) -> Vec<u8> {
        match parse(wire) {
            Parsed::Request(request, used) => {
                assert_eq!(used, wire.len());
                request.body.into_owned()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bodies_come_by_length_or_in_chunks() {
        let head =
            "POST /p?q=1 HTTP/1.1\r\nhost: x\r\nCONTENT-type: Application/x-www-form-urlencoded ; charset=utf-8\r\n";
        assert_eq!(body_of(format!("{head}Content-Length: 3\r\n\r\na=b").as_bytes()), b"a=b");
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\na=\r\n1;x=y\r\nb\r\n0\r\n\r\n");
        assert_eq!(body_of(chunked.as_bytes()), b"a=b");
        for cut in head.len()..chunked.len() {
            assert!(matches!(parse(&chunked.as_bytes()[..cut]), Parsed::Partial(false)), "cut at {cut}");
        }
    }

    #[test]
    fn what_can_never_be_a_request_is_bad() {
        assert!(matches!(parse(b"\x16\x03\x01\x02\x00 a TLS hello"), Parsed::Bad(400)));
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(HEAD_MAX));
        assert!(matches!(parse(long.as_bytes()), Parsed::Bad(431)));
        let large = b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n";
        assert!(matches!(parse(large), Parsed::Bad(413)));
    }

    #[test]
    fn absolute_form_expectation_and_closing_are_understood() {
        match parse(b"GET http://106.ihuyi.com/a?b HTTP/1.0\r\n\r\n") {
            Parsed::Request(request, _) => {
                assert_eq!((request.path, request.query, request.keep_alive), ("/a", &b"b"[..], false));
            }
            other => panic!("{other:?}"),
        }
        let waiting = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
        assert!(matches!(parse(waiting), Parsed::Partial(true)));
    }
}
