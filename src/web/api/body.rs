//! Bodies: JSON, not too long, field by field. An error names the field, the problem and the cure, and
//! quotes no value.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use http_body::Body as _;
use tokio::time::timeout;

use crate::domain::json::{Json, Members};
use crate::web::problem::Problem;

/// The longest body, in bytes: 1,000 jobs with full metadata, the longest id and a text of 300 characters fit, also
/// where each character is escaped.
pub(super) const MAX_BYTES: usize = 8 * 1024 * 1024;
/// For a body to come in.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest reason, in characters.
const MAX_REASON: usize = 500;

/// A body that is there and says that it is JSON, or one that is not there.
pub(super) struct Body(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = says_json(request.headers());
        let announced = request.body().size_hint().lower();
        if announced > MAX_BYTES as u64 {
            return Err(refused(StatusCode::PAYLOAD_TOO_LARGE));
        }
        let read = timeout(PATIENCE, Bytes::from_request(request, state)).await;
        let bytes = read
            .map_err(|_| refused(StatusCode::REQUEST_TIMEOUT))?
            .map_err(|problem| refused(problem.into_response().status()))?;
        if !bytes.is_empty() && !is_json {
            return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        Ok(Body(bytes))
    }
}

fn refused(status: StatusCode) -> Problem {
    let detail = match status {
        StatusCode::PAYLOAD_TOO_LARGE => format!("the body has more than {MAX_BYTES} bytes: send fewer jobs at a time"),
        StatusCode::REQUEST_TIMEOUT => format!("the body did not come in within {} s", PATIENCE.as_secs()),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            "the body is not marked as JSON: send `Content-Type: application/json`".into()
        }
        _ => "the body broke off: send it again".into(),
    };
    Problem::new(status, detail)
}

fn says_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.starts_with("application/") && essence.ends_with("+json")
}

/// The fields of a JSON object.
pub(super) struct Fields<'a> {
    /// The field that it is the value of; empty at the top.
    path: &'static str,
    members: Vec<(String, Json<'a>)>,
    /// The values as they were written.
    raw: Vec<(String, &'a str)>,
}

impl<'a> Fields<'a> {
    /// The fields of `body`; none where it is empty. Fields other than `known` are refused, and `null` counts as
    /// absent.
    pub fn of(body: &'a [u8], known: &[&str]) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Fields { path: "", members: Vec::new(), raw: Vec::new() });
        }
        let text = std::str::from_utf8(body).map_err(|_| bad_json("it is no UTF-8".to_owned()))?;
        if !text.trim_start().starts_with('{') {
            // Valid, but something else: that is no matter of syntax.
            Json::parse(text).map_err(bad_json)?;
            return Err(invalid("the body must be an object, in { }"));
        }
        Fields::inner("", text, known)
    }

    /// `body` is an object with that field, not null; which of two kinds of bodies it is. What is wrong with it,
    /// [`Fields::of`] says.
    pub fn has(body: &[u8], name: &str) -> bool {
        let text = std::str::from_utf8(body).unwrap_or_default();
        Members::parse(text)
            .is_ok_and(|Members(found)| found.iter().any(|(field, raw)| field == name && *raw != "null"))
    }

    fn inner(path: &'static str, text: &'a str, known: &[&str]) -> Result<Self, Problem> {
        let Members(found) = Members::parse(text).map_err(bad_json)?;
        let mut fields =
            Fields { path, members: Vec::with_capacity(found.len()), raw: Vec::with_capacity(found.len()) };
        for (name, raw) in found {
            if !known.contains(&name.as_ref()) {
                return Err(invalid(format!("a field{} is not known: use {}", inside(path), known.join(", "))));
            }
            if fields.raw.iter().any(|(earlier, _)| *earlier == name) {
                return Err(invalid(format!("`{}` stands twice: remove one", fields.place(&name))));
            }
            let value = Json::parse(raw).map_err(bad_json)?;
            if value != Json::Null {
                fields.members.push((name.clone().into_owned(), value));
            }
            fields.raw.push((name.into_owned(), raw));
        }
        Ok(fields)
    }

    fn place(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let place = self.members.iter().position(|(field, _)| field == name)?;
        Some(self.members.swap_remove(place).1)
    }

    fn wrong(&self, name: &str, wanted: &str) -> Problem {
        invalid(format!("`{}` must be {wanted}", self.place(name)))
    }

    /// A string without NUL of 1 to `longest` characters.
    pub fn text(&mut self, name: &str, longest: usize) -> Result<Option<String>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Text(text)) if (1..=longest).contains(&text.chars().count()) && !text.contains('\0') => {
                Ok(Some(text.into_owned()))
            }
            Some(_) => Err(self.wrong(name, &format!("a string of 1 to {longest} characters without NUL"))),
        }
    }

    /// The field `reason`.
    pub fn reason(&mut self) -> Result<Option<String>, Problem> {
        self.text("reason", MAX_REASON)
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }
}

impl<'a> Fields<'a> {
    /// None is there.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A whole number of 0 to `most`.
    pub fn count(&mut self, name: &str, most: u32) -> Result<Option<u32>, Problem> {
        let wanted = format!("a whole number of 0 to {most}");
        self.number(name, &wanted, |number| u32::try_from(number).ok().filter(|count| *count <= most))
    }

    /// A whole number that `take` takes.
    pub fn number<T>(
        &mut self,
        name: &str,
        wanted: &str,
        take: impl Fn(i64) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let raw = self.raw.iter().find(|(field, _)| field == name).map(|(_, raw)| *raw);
        match (self.take(name), raw) {
            (None, _) => Ok(None),
            (Some(Json::Number), Some(raw)) => {
                raw.parse().ok().and_then(take).map(Some).ok_or_else(|| self.wrong(name, wanted))
            }
            _ => Err(self.wrong(name, wanted)),
        }
    }

    /// A string, or an array of 1 to `most` strings, without NUL. An empty one is refused: it would select
    /// everything where nothing was meant.
    pub fn texts(&mut self, name: &str, most: usize) -> Result<Vec<String>, Problem> {
        let text = |value: Json| match value {
            Json::Text(text) if !text.contains('\0') => Some(text.into_owned()),
            _ => None,
        };
        let found = match self.take(name) {
            None => Some(Vec::new()),
            Some(Json::List(items)) if (1..=most).contains(&items.len()) => items.into_iter().map(text).collect(),
            Some(one) => text(one).map(|text| vec![text]),
        };
        found.ok_or_else(|| self.wrong(name, &format!("a string, or an array of 1 to {most} strings, without NUL")))
    }

    /// An array of 1 to `most` whole numbers.
    pub fn numbers(&mut self, name: &str, most: usize) -> Result<Vec<i64>, Problem> {
        let raw = self.raw.iter().find(|(field, _)| field == name).map(|(_, raw)| *raw);
        match (self.take(name), raw) {
            (None, _) => Some(Vec::new()),
            (Some(Json::List(items)), Some(raw)) if (1..=most).contains(&items.len()) => serde_json::from_str(raw).ok(),
            _ => None,
        }
        .ok_or_else(|| self.wrong(name, &format!("an array of 1 to {most} whole numbers")))
    }

    /// The fields of an object.
    pub fn object(&mut self, name: &'static str, known: &[&str]) -> Result<Fields<'a>, Problem> {
        let raw = self.raw.iter().find(|(field, _)| field == name).map(|(_, raw)| *raw);
        match (self.take(name), raw) {
            (Some(Json::Object(_)), Some(raw)) => Fields::inner(name, raw, known),
            (None, _) => Ok(Fields { path: name, members: Vec::new(), raw: Vec::new() }),
            _ => Err(self.wrong(name, "an object")),
        }
    }
}

fn inside(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" of `{path}`") }
}

fn bad_json(problem: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("the body is no valid JSON: {problem}"))
}

/// A value that can be read, and makes no sense.
pub(super) fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}
