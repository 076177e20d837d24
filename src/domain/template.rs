//! Templates of the configuration: a text approved by ihuyi, with 【变量】 where a variable goes. What
//! ihuyi would refuse (40722, 4072) is seen here before a request is spent. The words of a problem hold
//! no text and no variable.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use super::job::Payload;

/// What stands for a variable in a text that is registered at ihuyi.
pub const PLACE: &str = "【变量】";
/// Characters a variable may have where the configuration does not say: what ihuyi publishes for code
/// 40722. It is a setting of the account there.
pub const VARIABLE_MAX: usize = 8;
/// The longest word of a placeholder, in characters.
const WORD_MAX: usize = 20;

/// An approved text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// ihuyi's number of it.
    pub id: String,
    /// Characters a variable may have.
    pub variable_max: usize,
    /// The fixed texts: one before, between and behind the variables each, any of them may be empty.
    fixed: Vec<String>,
}

/// Why something is none of a template's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It takes another number of variables.
    Count {
        /// The template's places.
        places: usize,
        /// Variables given.
        given: usize,
    },
    /// A variable is too long.
    TooLong {
        /// Which, from 1.
        place: usize,
        /// How long it is, in characters.
        characters: usize,
        /// How long it may be.
        most: usize,
    },
    /// The text differs from the template behind so many characters.
    Differs(usize),
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misfit::Count { places, given } => write!(f, "it takes {places} variables, not {given}"),
            Misfit::TooLong { place, characters, most } => {
                write!(f, "variable {place} has {characters} characters, and it takes at most {most}")
            }
            Misfit::Differs(at) => write!(f, "the text differs from it behind character {at}"),
        }
    }
}

impl Template {
    /// Reads `text`, in which every 【word】 is the place of a variable. At the start only 【变量】 is: any
    /// other word there could as well be a signature, which ihuyi adds itself.
    ///
    /// # Errors
    /// What is wrong with the text, and the cure.
    pub fn new(id: impl Into<String>, text: &str, variable_max: usize) -> Result<Template, String> {
        let mut fixed = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('【') {
            let closed = behind.split_once('】').filter(|(word, _)| word.chars().count() <= WORD_MAX);
            let (word, after) = closed.ok_or("holds a 【 that no 】 follows: write 【变量】 for each variable")?;
            if fixed.is_empty() && before.is_empty() && word != "变量" {
                return Err(format!(
                    "begins with 【{word}】: leave a signature out, ihuyi adds it; a variable is written 【变量】 there"
                ));
            }
            fixed.push(before.to_owned());
            rest = after;
        }
        fixed.push(rest.to_owned());
        match fixed.concat().trim().is_empty() {
            true => Err("has no text beside its variables: copy it from ihuyi's console".into()),
            false => Ok(Template { id: id.into(), variable_max, fixed }),
        }
    }

    /// In the place of one whose text cannot be read.
    pub fn stand_in(id: impl Into<String>) -> Template {
        Template { id: id.into(), variable_max: VARIABLE_MAX, fixed: vec![String::new()] }
    }

    /// How many variables it takes.
    pub fn places(&self) -> usize {
        self.fixed.len() - 1
    }

    /// The text as ihuyi knows it, with 【变量】 at each place.
    pub fn text(&self) -> String {
        self.fixed.join(PLACE)
    }

    /// The message for these variables; what is missing is left empty.
    pub fn fill(&self, variables: &[String]) -> String {
        let mut text = self.fixed[0].clone();
        for (i, fixed) in self.fixed.iter().enumerate().skip(1) {
            text.push_str(variables.get(i - 1).map_or("", String::as_str));
            text.push_str(fixed);
        }
        text
    }

    /// The characters of the message for variables that suit it and have, joined by `|`, so many.
    pub fn filled_length(&self, joined: usize) -> usize {
        let fixed: usize = self.fixed.iter().map(|fixed| fixed.chars().count()).sum();
        fixed + joined.saturating_sub(self.places().saturating_sub(1))
    }

    /// Whether the variables suit it, in number and length.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self, variables: &[String]) -> Result<(), Misfit> {
        if variables.len() != self.places() {
            return Err(Misfit::Count { places: self.places(), given: variables.len() });
        }
        self.check_lengths(variables.iter().map(String::as_str))
    }

    /// Whether `text` is one of its messages, to the character.
    ///
    /// # Errors
    /// Where it differs, or which variable is too long.
    pub fn matches(&self, text: &str) -> Result<(), Misfit> {
        let shortest = self.split(text).map_err(|at| Misfit::Differs(text[..at].chars().count()))?;
        let fits = self.check_lengths(shortest.iter().copied());
        // The first variable may be longer than it need be, and a later one shorter.
        let variables: usize = shortest.iter().map(|variable| variable.chars().count()).sum();
        let has_room = variables <= self.places() * self.variable_max;
        if fits.is_err() && has_room && self.matches_somehow(text) { Ok(()) } else { fits }
    }

    fn check_lengths<'a>(&self, variables: impl Iterator<Item = &'a str>) -> Result<(), Misfit> {
        for (i, variable) in variables.enumerate() {
            let characters = variable.chars().count();
            if characters > self.variable_max {
                return Err(Misfit::TooLong { place: i + 1, characters, most: self.variable_max });
            }
        }
        Ok(())
    }

    /// The variables in `text`, each as short as can be; or up to which byte it is the template's.
    fn split<'a>(&self, text: &'a str) -> Result<Vec<&'a str>, usize> {
        let (first, last) = (&self.fixed[0], &self.fixed[self.places()]);
        let mut rest = text.strip_prefix(first.as_str()).ok_or_else(|| in_common(text, first))?;
        if self.places() == 0 {
            return if rest.is_empty() { Ok(Vec::new()) } else { Err(text.len() - rest.len()) };
        }
        let mut variables = Vec::new();
        for fixed in &self.fixed[1..self.places()] {
            let (variable, behind) = rest.split_once(fixed.as_str()).ok_or(text.len() - rest.len())?;
            variables.push(variable);
            rest = behind;
        }
        variables.push(rest.strip_suffix(last.as_str()).ok_or(text.len() - rest.len())?);
        Ok(variables)
    }

    /// Whether any split of `text` has variables that are short enough: the ends that each fixed text may
    /// have, one fixed text after the other.
    fn matches_somehow(&self, text: &str) -> bool {
        let Some(first) = text.strip_prefix(self.fixed[0].as_str()) else { return false };
        let mut ends = vec![text.len() - first.len()];
        for fixed in &self.fixed[1..] {
            let starts = (0..=text.len()).filter(|at| text.is_char_boundary(*at) && text[*at..].starts_with(fixed));
            // The nearest end before makes the shortest variable.
            let fits = |at: &usize| {
                let before = &ends[..ends.partition_point(|end| end <= at)];
                let short = |from: &usize| text[*from..*at].chars().take(self.variable_max + 1).count();
                before.last().is_some_and(|from| short(from) <= self.variable_max)
            };
            ends = starts.filter(fits).map(|at| at + fixed.len()).collect();
        }
        ends.last() == Some(&text.len())
    }
}

/// How many bytes of `text` are also the first ones of `other`.
fn in_common(text: &str, other: &str) -> usize {
    let same = text.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    same.map(|(c, _)| c.len_utf8()).sum()
}

/// The templates of the configuration, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Templates(BTreeMap<String, Template>);

impl Templates {
    /// No name is another one's id, and no two have one id: the configuration sees to it.
    pub fn new(templates: BTreeMap<String, Template>) -> Self {
        Templates(templates)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Template)> {
        self.0.iter().map(|(name, template)| (name.as_str(), template))
    }

    /// The one that a job means by `template_id`: by its name here, or by ihuyi's id.
    pub fn find(&self, template_id: &str) -> Option<(&str, &Template)> {
        let by_id = || self.iter().find(|(_, template)| template.id == template_id);
        self.0.get_key_value(template_id).map(|(name, template)| (name.as_str(), template)).or_else(by_id)
    }

    /// The payload as ihuyi takes it: a name becomes its id. Done for each request, so that what waits
    /// follows a template that was registered anew.
    pub fn resolve<'a>(&self, payload: &'a Payload) -> Cow<'a, Payload> {
        match payload {
            Payload::Template { id, variables } if self.0.get(id).is_some_and(|template| template.id != *id) => {
                Cow::Owned(Payload::Template { id: self.0[id].id.clone(), variables: variables.clone() })
            }
            other => Cow::Borrowed(other),
        }
    }

    /// Whether ihuyi will find variables to suit their template. One that is not configured is not judged.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn check(&self, template_id: &str, variables: &[String]) -> Result<(), String> {
        let Some((name, template)) = self.find(template_id) else { return Ok(()) };
        template.check(variables).map_err(|misfit| match misfit {
            Misfit::TooLong { .. } => {
                format!("`variables`: template {name}: {misfit}: shorten it, or raise templates.{name}.variable_max")
            }
            _ => format!("`variables`: template {name}: {misfit}"),
        })
    }

    /// The template that `text` is a message of; or the one that it comes nearest to, and what is wrong.
    ///
    /// # Errors
    /// `None` where no template is configured.
    pub fn matching(&self, text: &str) -> Result<&str, Option<(&str, Misfit)>> {
        let mut nearest = None;
        for (name, template) in self.iter() {
            let Err(misfit) = template.matches(text) else { return Ok(name) };
            let rank = match misfit {
                Misfit::Differs(at) => at,
                Misfit::TooLong { .. } | Misfit::Count { .. } => usize::MAX,
            };
            if nearest.is_none_or(|(best, _, _)| rank > best) {
                nearest = Some((rank, name, misfit));
            }
        }
        Err(nearest.map(|(_, name, misfit)| (name, misfit)))
    }

    /// The text that goes to the phone, as far as it is known: of a template that is not configured, its
    /// variables.
    pub fn rendered<'a>(&self, payload: &'a Payload) -> Cow<'a, str> {
        match payload {
            Payload::Text(text) => Cow::Borrowed(text),
            Payload::Template { id, variables } => match self.find(id) {
                Some((_, template)) => Cow::Owned(template.fill(variables)),
                None => Cow::Owned(payload.content()),
            },
        }
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
