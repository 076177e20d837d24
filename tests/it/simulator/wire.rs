//! A client for the simulator that shares no code with it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dispatcher::simulator::{Options, Simulator};
use md5::{Digest, Md5};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The default account.
pub const ACCOUNT: &str = "C00000001";
pub const KEY: &str = "simulated-key";
pub const MOBILE: &str = "13800138000";
pub const TEXT: &str = "您的验证码是：2546。请不要把验证码泄露给其他人。";

/// Fails a test that waits in vain instead of letting it hang.
pub async fn in_time<T>(waiting: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, waiting).await.expect("waited in vain")
}

pub async fn start(options: Options) -> Simulator {
    Simulator::start(options).await.unwrap()
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer with its body as it came.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Client {
    pub async fn connect(simulator: &Simulator) -> Self {
        let stream = TcpStream::connect(simulator.address()).await.unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends a request and reads its answer.
    pub async fn call(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request).await;
        self.answer().await
    }

    /// Reads one answer, by its length.
    pub async fn answer(&mut self) -> Answer {
        loop {
            if let Some(answer) = self.take_answer() {
                return answer;
            }
            assert!(self.read().await.unwrap() > 0, "closed after {:?}", self.buffer);
        }
    }

    /// Everything until the connection ends, or how it broke.
    pub async fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        while self.read().await? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Says that nothing more will be sent.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Reads exactly these bytes.
    pub async fn expect(&mut self, bytes: &[u8]) {
        while self.buffer.len() < bytes.len() {
            assert!(self.read().await.unwrap() > 0, "closed after {:?}", self.buffer);
        }
        assert_eq!(&self.buffer[..bytes.len()], bytes);
        self.buffer.drain(..bytes.len());
    }

    async fn read(&mut self) -> std::io::Result<usize> {
        in_time(self.stream.read_buf(&mut self.buffer)).await
    }

    fn take_answer(&mut self) -> Option<Answer> {
        let end = self.buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
        let length = header(&head, "content-length")?.parse::<usize>().unwrap();
        if self.buffer.len() < end + length {
            return None;
        }
        let body = String::from_utf8(self.buffer[end..end + length].to_vec()).unwrap();
        self.buffer.drain(..end + length);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Answer { status, head, body })
    }
}

pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

impl Answer {
    /// The code of a JSON or XML reply.
    pub fn code(&self) -> i64 {
        assert_eq!(self.status, 200, "{self:?}");
        let after = |mark: &str| self.body.split_once(mark).map(|(_, rest)| rest);
        let rest = after("\"code\":").or_else(|| after("<code>")).unwrap();
        let end = rest.find([',', '<']).unwrap();
        rest[..end].parse().unwrap()
    }

    /// The smsid of a JSON or XML reply to a submit.
    pub fn smsid(&self) -> &str {
        let after = |mark: &str| self.body.split_once(mark).map(|(_, rest)| rest);
        let rest = after("\"smsid\":\"").or_else(|| after("<smsid>")).unwrap();
        &rest[..rest.find(['"', '<']).unwrap()]
    }
}

/// A submit under construction; by default a right one with the dynamic password.
#[derive(Clone)]
pub struct Submit {
    pub fields: Vec<(String, String)>,
}

impl Submit {
    /// Signed by the default account at this moment.
    pub fn dynamic(mobile: &str, content: &str) -> Self {
        Self::signed(ACCOUNT, KEY, mobile, content, unix_now())
    }

    pub fn signed(account: &str, key: &str, mobile: &str, content: &str, time: u64) -> Self {
        let password = hex_md5(&format!("{account}{key}{mobile}{content}{time}"));
        Self::of(&[
            ("account", account),
            ("password", &password),
            ("mobile", mobile),
            ("content", content),
            ("time", &time.to_string()),
        ])
    }

    pub fn of(fields: &[(&str, &str)]) -> Self {
        Self { fields: fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect() }
    }

    /// Sets a field, or adds it.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(found, _)| found != name);
        self.fields.push((name.into(), value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(found, _)| found != name);
        self
    }

    pub fn json(self) -> Self {
        self.with("format", "json")
    }

    pub fn encoded(&self) -> String {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.fields).finish()
    }

    pub fn post(&self) -> String {
        post("/webservice/sms.php?method=Submit", "application/x-www-form-urlencoded", &self.encoded())
    }

    pub fn get(&self) -> String {
        get(&format!("/webservice/sms.php?method=Submit&{}", self.encoded()))
    }
}

pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
}

pub fn post(target: &str, content_type: &str, body: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len(),
    )
}

pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn hex_md5(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
