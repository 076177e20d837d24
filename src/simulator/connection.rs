//! One client connection: read, decide, answer or misbehave, and again.

use std::io;
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::admin;
use super::engine::Engine;
use super::http::{self, Parsed, Request};
use super::params::Params;
use super::reply::{Format, Reply};
use super::script::Answer;
use super::state::Arrival;

/// Serves one client until it leaves or is thrown out. The caller may drop the future at any await.
pub async fn serve(stream: TcpStream, number: u64, engine: Arc<Engine>) {
    let connection = Connection {
        stream,
        number,
        engine,
        input: BytesMut::with_capacity(4096),
        output: Vec::with_capacity(1024),
        body: String::with_capacity(512),
    };
    // However a client leaves, nothing is left to do for it.
    let _ = connection.run().await;
}

struct Connection {
    stream: TcpStream,
    number: u64,
    engine: Arc<Engine>,
    /// Bytes read but not yet used.
    input: BytesMut,
    /// Answers not yet written: several where the client pipelines.
    output: Vec<u8>,
    /// Scratch for one reply's body.
    body: String,
}

/// How the answer to one request is to be written.
struct Plan {
    delay: std::time::Duration,
    answer: Answer,
    format: Format,
    keep_alive: bool,
}

/// Whether the connection lives on.
enum Next {
    Request,
    End,
}

impl Connection {
    async fn run(mut self) -> io::Result<()> {
        loop {
            let (plan, used) = match http::parse(&self.input) {
                Parsed::Request(request, used) => (plan(&self.engine, &request, self.number), used),
                Parsed::Partial(wants_continue) => {
                    if !self.read_more(wants_continue).await? {
                        return Ok(());
                    }
                    continue;
                }
                Parsed::Bad(status) => {
                    http::write_head(&mut self.output, status, "text/plain", 0, false);
                    return self.flush().await;
                }
            };
            self.input.advance(used);
            if let Next::End = self.carry_out(plan).await? {
                return Ok(());
            }
        }
    }

    /// Writes what is owed and reads on; `false` at the end of the connection.
    async fn read_more(&mut self, wants_continue: bool) -> io::Result<bool> {
        if wants_continue {
            self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.flush().await?;
        if self.input.is_empty() && self.engine.options.faults.reset_before > 0.0 {
            // A client that leaves is readable too, but has no request to lose.
            let leaves = self.stream.peek(&mut [0]).await? == 0;
            if leaves || self.engine.strikes_before() {
                // Closing with unread bytes makes the kernel send RST.
                return Ok(false);
            }
        }
        let reading = self.stream.read_buf(&mut self.input);
        let read = match self.engine.options.keep_alive {
            // Idle since its start or its last answer.
            Some(patience) => timeout(patience, reading).await.unwrap_or(Ok(0)),
            None => reading.await,
        };
        Ok(read? > 0)
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.output.clear();
        }
        Ok(())
    }

    async fn carry_out(&mut self, plan: Plan) -> io::Result<Next> {
        if !plan.delay.is_zero() {
            self.flush().await?;
            tokio::time::sleep(plan.delay).await;
        }
        match plan.answer {
            Answer::Reply(reply) => {
                self.write_reply(&reply, plan.format, plan.keep_alive);
                return self.finish(plan.keep_alive).await;
            }
            Answer::Raw { status, content_type, body } => {
                http::write_head(&mut self.output, status, &content_type, body.len(), plan.keep_alive);
                self.output.extend_from_slice(&body);
                return self.finish(plan.keep_alive).await;
            }
            Answer::Cut(reply) => {
                self.write_reply(&reply, plan.format, true);
                self.output.truncate(self.output.len() - self.body.len() / 2);
                self.flush().await?;
            }
            Answer::Garbage => {
                self.output.extend_from_slice(b"\x00\xff\xfe not HTTP at all \x80\x81\r\n\r\n");
                self.flush().await?;
            }
            Answer::Close => self.flush().await?,
            Answer::Hang => self.wait_for_the_end().await?,
            Answer::Reset => {
                self.flush().await?;
                self.stream.set_zero_linger()?;
            }
        }
        Ok(Next::End)
    }

    async fn finish(&mut self, keep_alive: bool) -> io::Result<Next> {
        if keep_alive {
            return Ok(Next::Request);
        }
        self.flush().await?;
        Ok(Next::End)
    }

    fn write_reply(&mut self, reply: &Reply, format: Format, keep_alive: bool) {
        let wire = &self.engine.options.wire;
        let content_type = match format {
            Format::Json => &wire.json_type,
            Format::Xml { .. } => &wire.xml_type,
        };
        self.body.clear();
        reply.write(format, wire, &mut self.body);
        http::write_head(&mut self.output, 200, content_type, self.body.len(), keep_alive);
        self.output.extend_from_slice(self.body.as_bytes());
    }

    async fn wait_for_the_end(&mut self) -> io::Result<()> {
        self.flush().await?;
        while self.stream.read_buf(&mut self.input).await? > 0 {
            self.input.clear();
        }
        Ok(())
    }
}

/// What an address of the gateway does.
enum Route {
    Submit,
    Balance,
    AddTemplate,
}

/// Decides on one request; no waiting here.
fn plan(engine: &Engine, request: &Request<'_>, connection: u64) -> Plan {
    let (delay, answer, format) = match request.path.strip_prefix("/_sim/") {
        Some(rest) => (std::time::Duration::ZERO, admin::answer(engine, request, rest), Format::Json),
        None => call(engine, request, connection),
    };
    Plan { delay, answer, format, keep_alive: request.keep_alive }
}

/// A call of the gateway itself.
fn call(engine: &Engine, request: &Request<'_>, connection: u64) -> (std::time::Duration, Answer, Format) {
    let method = match request.method {
        "GET" => "GET",
        "POST" => "POST",
        _ => return refuse(405, "only GET and POST are known here"),
    };
    let form: &[u8] = if request.is_form { &request.body } else { b"" };
    let params = Params::merge(request.query, form);
    let (route, json_only) = match (request.path, &*params.method) {
        ("/webservice/sms.php", b"Submit") => (Route::Submit, false),
        ("/webservice/sms.php", b"GetNum") => (Route::Balance, false),
        ("/webservice/sms.php", b"AddTemplate") => (Route::AddTemplate, false),
        ("/sms/AddTemplate.json", _) => (Route::AddTemplate, true),
        ("/sms/Submit.json", _) => (Route::Submit, true),
        ("/sms/GetNum.json", _) => (Route::Balance, true),
        ("/webservice/sms.php", _) => {
            return refuse(404, "method must be Submit, GetNum or AddTemplate, in the query");
        }
        _ => return refuse(404, "no such address"),
    };
    let (format, format_name) = match json_only || &*params.format == b"json" {
        true => (Format::Json, "json"),
        false => (Format::Xml { cn: is_cn(request.host) }, "xml"),
    };
    let (delay, answer) = match route {
        Route::Submit => engine.submit(&params, Arrival { method, format: format_name, connection }),
        Route::Balance => engine.balance(&params),
        Route::AddTemplate => engine.add_template(&params),
    };
    (delay, answer, format)
}

/// What the gateway does with an unknown address is not published; a plain HTTP error shows a wrong
/// configuration at once.
fn refuse(status: u16, why: &str) -> (std::time::Duration, Answer, Format) {
    let answer = Answer::Raw { status, content_type: "text/plain".into(), body: why.into() };
    (std::time::Duration::ZERO, answer, Format::Json)
}

/// Whether a `Host` header names a `.cn` host.
fn is_cn(host: &[u8]) -> bool {
    let name = host.split(|byte| *byte == b':').next().unwrap_or_default();
    name.to_ascii_lowercase().ends_with(b".cn")
}
