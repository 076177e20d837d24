//! Takes typed values out of a table. Whatever is wrong is noted, with path and cure, and the
//! default stands in for it, so that reading goes on and every problem is found at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use ::config::{Map, Value, ValueKind};

use super::Needs;
use super::problem::{Problem, Problems, nearest};
use super::source::{Origins, Source, variable_of};
use crate::domain::rate::{Rate, parse_duration};

/// Keys that stand above the first table, where they are easily forgotten.
const TOP_LEVEL: [&str; 2] = ["default_account", "drain_timeout"];

/// Collects the problems of one configuration.
pub(super) struct Reader {
    pub origins: Origins,
    pub needs: Needs,
    problems: RefCell<Vec<Problem>>,
}

impl Reader {
    /// Reads the whole tree with `read`; an error where anything was wrong.
    pub fn read<T>(
        source: Source,
        needs: Needs,
        problems: Vec<Problem>,
        read: impl FnOnce(&mut Table) -> T,
    ) -> Result<T, Problems> {
        let reader = Reader { origins: source.origins, needs, problems: RefCell::new(problems) };
        let meaning = Table::new(&reader, String::new(), source.root).read(read);
        Problems::of(reader.problems.into_inner()).map_or(Ok(meaning), Err)
    }

    /// Notes what is wrong with the value at `path`.
    pub fn problem(&self, path: &str, text: impl Into<String>) {
        self.problem_in(self.origins.of(path), path, text.into());
    }

    fn problem_in(&self, origin: String, path: &str, text: String) {
        self.problems.borrow_mut().push(Problem { origin, path: path.into(), text });
    }

    /// True where nothing is wrong with the value at `path`: only then do comparisons make sense.
    pub fn is_sound(&self, path: &str) -> bool {
        self.problems.borrow().iter().all(|problem| problem.path != path)
    }
}

/// A table being read. A key that was never asked for is unknown.
pub(super) struct Table<'r> {
    pub reader: &'r Reader,
    path: String,
    entries: BTreeMap<String, Value>,
    asked: BTreeSet<String>,
}

impl<'r> Table<'r> {
    fn new(reader: &'r Reader, path: String, value: Value) -> Self {
        let mut entries = BTreeMap::new();
        match value.kind {
            ValueKind::Table(table) => entries.extend(table),
            _ => reader.problem(&path, format!("is no table: write [{path}] and its keys below it")),
        }
        Table { reader, path, entries, asked: BTreeSet::new() }
    }

    fn read<T>(mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let meaning = read(&mut self);
        self.refuse_the_rest();
        meaning
    }

    /// Takes the table `key`; one that is not there is read as empty.
    pub fn table<T>(&mut self, key: &str, read: impl FnOnce(&mut Table<'r>) -> T) -> T {
        let value = self.take(key).unwrap_or_else(|| Value::new(None, Map::<String, Value>::new()));
        Table::new(self.reader, self.path_of(key), value).read(read)
    }

    /// Takes the table `key`, whose keys are names and whose values are tables.
    pub fn tables<T>(&mut self, key: &str, read: impl Fn(&mut Table<'r>) -> T) -> BTreeMap<String, T> {
        self.table(key, |named| {
            let mut found = BTreeMap::new();
            for (name, value) in std::mem::take(&mut named.entries) {
                let path = named.path_of(&name);
                if !is_name(&name) {
                    let text = "is no name: use 1 to 64 of a-z, 0-9, _ and -";
                    named.reader.problem_in(named.reader.origins.of_tree(&path, &value), &path, text.into());
                }
                found.insert(name, Table::new(named.reader, path, value).read(&read));
            }
            found
        })
    }

    /// Takes every entry, whatever its key, as text.
    pub fn texts(&mut self) -> Vec<(String, String)> {
        let entries = std::mem::take(&mut self.entries);
        entries.into_iter().filter_map(|(key, value)| Some((key.clone(), self.sound(&key, text(&value))?))).collect()
    }

    /// The value at `key` as `parse` understands it; `default` where it is not there or wrong.
    pub fn value<T>(&mut self, key: &str, default: T, parse: impl FnOnce(&str) -> Result<T, String>) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    /// The value at `key`, if it is there.
    pub fn optional<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let value = self.take(key)?;
        self.sound(key, text(&value).and_then(|text| parse(text.trim())))
    }

    /// The value at `key`, which must be there. `None` is always noted as a problem.
    pub fn required<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        if !self.has(key) {
            self.missing(key, key);
        }
        self.optional(key, parse)
    }

    /// A whole number in `range`.
    pub fn integer<T: TryFrom<i64>>(&mut self, key: &str, default: T, range: RangeInclusive<i64>) -> T {
        self.value(key, default, |text| {
            let (low, high) = (range.start(), range.end());
            let number = text.parse().map_err(|_| format!("`{text}` is no whole number: write {low} to {high}"))?;
            let fits = Some(number).filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok());
            fits.ok_or_else(|| format!("`{text}` is out of range: write {low} to {high}"))
        })
    }

    /// A duration in `range`.
    pub fn duration(&mut self, key: &str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        self.value(key, default, |text| {
            let duration = parse_duration(text)?;
            let bounds = || format!("{} to {}", show(*range.start()), show(*range.end()));
            range
                .contains(&duration)
                .then_some(duration)
                .ok_or_else(|| format!("`{text}` is out of range: write {}", bounds()))
        })
    }

    /// A rate.
    pub fn rate(&mut self, key: &str, default: Rate) -> Rate {
        self.value(key, default, Rate::parse)
    }

    /// One of some words, in any case of letters.
    pub fn word<T: Copy>(&mut self, key: &str, default: T, words: &[(&str, T)]) -> T {
        self.value(key, default, |text| one_of(text, words))
    }

    /// `true` or `false`.
    pub fn switch(&mut self, key: &str, default: bool) -> bool {
        match self.take(key).map(|value| value.kind) {
            None => default,
            Some(ValueKind::Boolean(on)) => on,
            Some(kind) => {
                let words = [("true", true), ("false", false)];
                let read = text(&Value::new(None, kind)).and_then(|text| one_of(text.trim(), &words));
                self.sound(key, read).unwrap_or(default)
            }
        }
    }

    /// A list; in the environment its items are separated by commas.
    pub fn list<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let items = match self.take(key).map(|value| value.kind) {
            None => return Vec::new(),
            Some(ValueKind::Array(items)) => items.iter().map(text).collect(),
            Some(ValueKind::String(text)) => text.split(',').map(|item| Ok(item.to_owned())).collect(),
            Some(_) => vec![Err("is no list: write [\"…\", \"…\"]".to_owned())],
        };
        items.into_iter().filter_map(|item| self.sound(key, item.and_then(|item| parse(item.trim())))).collect()
    }

    /// Takes the value at `key`, which is a known key from here on.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.asked.insert(key.to_owned());
        self.entries.remove(key)
    }

    /// The value at `key`, which stays to be taken.
    pub fn peek(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// True where `key` has a value not yet taken.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The full path of `key`.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes what is wrong with the value at `key`.
    pub fn problem(&self, key: &str, text: impl Into<String>) {
        self.reader.problem(&self.path_of(key), text);
    }

    /// Notes that `key` is missing; `written` is how it is best given in the file.
    pub fn missing(&self, key: &str, written: &str) {
        let table = if self.path.is_empty() { String::new() } else { format!(" under [{}]", self.path) };
        let variable = variable_of(&self.path_of(key));
        self.problem(key, format!("is missing: write `{written} = \"…\"`{table}, or set {variable}"));
    }

    /// True where nothing is wrong with any of `keys`.
    pub fn is_sound(&self, keys: &[&str]) -> bool {
        keys.iter().all(|key| self.reader.is_sound(&self.path_of(key)))
    }

    /// The value of a result; its error is noted for `key`.
    pub fn sound<T>(&self, key: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|text| self.problem(key, text)).ok()
    }

    fn refuse_the_rest(&self) {
        for (key, value) in &self.entries {
            let path = self.path_of(key);
            let origin = self.reader.origins.of_tree(&path, value);
            self.reader.problem_in(origin, &path, self.unknown(key));
        }
    }

    fn unknown(&self, key: &str) -> String {
        let here = if self.path.is_empty() { "at the top".into() } else { format!("of [{}]", self.path) };
        if TOP_LEVEL.contains(&key) {
            return format!("is no key {here}: it belongs at the top of the file, above the first [table]");
        }
        let asked = || self.asked.iter().map(String::as_str);
        match nearest(key, asked()) {
            Some(meant) => format!("is no key {here}: did you mean `{meant}`?"),
            None => format!("is no key {here}: remove it, or use one of {}", asked().collect::<Vec<_>>().join(", ")),
        }
    }
}

/// True for what may name an account or a token: it can be written in the environment, too.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    (1..=64).contains(&name.len()) && name.chars().all(plain)
}

/// The meaning of the word `text`, in any case of letters.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let known: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        format!("`{text}` is not known: write {}", known.join(" or "))
    })
}

/// A single value as text. A number is taken for its digits, so that `rate = 100` gets the message
/// of a bad rate.
fn text(value: &Value) -> Result<String, String> {
    match &value.kind {
        ValueKind::String(text) if text.trim().is_empty() => Err("is empty: give it a value, or remove it".into()),
        ValueKind::String(text) => Ok(text.clone()),
        ValueKind::I64(number) => Ok(number.to_string()),
        ValueKind::Table(_) => Err("is a table: write a single value".into()),
        ValueKind::Array(_) => Err("is a list: write a single value".into()),
        other => Err(format!("`{other}` is neither text nor a whole number: put text in quotes")),
    }
}

/// A duration as it is written.
fn show(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = units.into_iter().find(|(length, _)| millis >= *length && millis.is_multiple_of(*length));
    whole.map_or(format!("{millis}ms"), |(length, unit)| format!("{}{unit}", millis / length))
}
