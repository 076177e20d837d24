//! Who may use the API. A token that stands in a file is read again when the file changes, so that it
//! can be replaced without a restart; a file that is gone or holds no token admits nobody.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tracing::{info, warn};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);
/// The longest file, in bytes.
const LONGEST: u64 = 8 * 1024;
/// The shortest token, in characters: as in the configuration.
const SHORTEST: usize = 4;

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Look.
    Viewer,
    /// Look and act.
    Operator,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's name: `operations.actor`.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// A token as it is configured.
#[derive(Clone, Debug)]
pub struct TokenEntry {
    /// Its name and role.
    pub caller: Caller,
    /// Its value at the start.
    pub secret: SecretString,
    /// The file that it stands in.
    pub file: Option<PathBuf>,
}

/// All tokens.
#[derive(Debug, Default)]
pub struct Tokens(Vec<Token>);

#[derive(Debug)]
struct Token {
    caller: Caller,
    file: Option<PathBuf>,
    /// `None`: the file holds none.
    secret: RwLock<Option<SecretString>>,
}

/// Tells whether a file may have changed. `None` where it is not there.
type Stamp = Option<(SystemTime, u64, u64)>;

impl Tokens {
    /// These tokens.
    pub fn new(entries: Vec<TokenEntry>) -> Self {
        let token = |entry: TokenEntry| Token {
            caller: entry.caller,
            file: entry.file,
            secret: RwLock::new(Some(entry.secret)),
        };
        Tokens(entries.into_iter().map(token).collect())
    }

    /// Whose token this is. Every token is compared, and each in a time that does not depend on where they differ.
    pub fn caller(&self, given: &[u8]) -> Option<Caller> {
        let mut found = None;
        for token in &self.0 {
            let secret = token.secret.read().unwrap_or_else(PoisonError::into_inner);
            let is_it = secret.as_ref().is_some_and(|secret| secret.expose_secret().as_bytes().ct_eq(given).into());
            found = if is_it { Some(&token.caller) } else { found };
        }
        found.cloned()
    }

    /// Reads the files again as they change. Never ends.
    pub async fn watch(&self) {
        let mut stamps = vec![None; self.0.len()];
        loop {
            for (token, seen) in self.0.iter().zip(&mut stamps) {
                let Some(file) = &token.file else { continue };
                let stamp = stamp(file).await;
                // The first look also finds what changed since the configuration was read.
                if seen.as_ref() != Some(&stamp) {
                    token.replace(read(file).await);
                    *seen = Some(stamp);
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Token {
    fn replace(&self, read: Result<SecretString, &'static str>) {
        let token = &self.caller.name;
        let mut secret = self.secret.write().unwrap_or_else(PoisonError::into_inner);
        let before = secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        match read {
            Ok(new) if before.as_deref() == Some(new.expose_secret()) => {}
            Ok(new) => {
                *secret = Some(new);
                info!(token, "the API token was read again");
            }
            Err(problem) => {
                *secret = None;
                warn!(token, problem, "the API token admits nobody until its file is mended");
            }
        }
    }
}

async fn stamp(file: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let metadata = tokio::fs::metadata(file).await.ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

async fn read(file: &Path) -> Result<SecretString, &'static str> {
    let metadata = tokio::fs::metadata(file).await.map_err(|_| "it cannot be read")?;
    if metadata.len() > LONGEST {
        return Err("it is too long to be a token");
    }
    let text = tokio::fs::read_to_string(file).await.map_err(|_| "it cannot be read as text")?;
    let token = text.trim_end_matches(['\r', '\n']);
    match token.len() >= SHORTEST && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(SecretString::from(token.to_owned())),
        false => Err("it holds no token: 4 or more printable ASCII characters, no blank"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, secret: &str, role: Role, file: Option<PathBuf>) -> TokenEntry {
        TokenEntry { caller: Caller { name: name.into(), role }, secret: secret.to_owned().into(), file }
    }

    #[test]
    fn only_the_whole_token_is_it() {
        let tokens = Tokens::new(vec![
            entry("alice", "alice-token", Role::Operator, None),
            entry("bob", "bob-token", Role::Viewer, None),
        ]);
        assert_eq!(tokens.caller(b"bob-token").unwrap().name, "bob");
        assert_eq!(tokens.caller(b"alice-token").unwrap().role, Role::Operator);
        for wrong in [&b""[..], b"alice-toke", b"alice-token2", b"ALICE-TOKEN"] {
            assert_eq!(tokens.caller(wrong), None);
        }
    }

    #[tokio::test]
    async fn a_file_that_holds_no_token_admits_nobody() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let tokens = Tokens::new(vec![entry("alice", "first-token", Role::Viewer, Some(file.path().into()))]);
        for (text, admitted) in [("second-token\n", true), ("", false), ("a b c d e", false), ("second-token", true)] {
            std::fs::write(file.path(), text).unwrap();
            tokens.0[0].replace(read(file.path()).await);
            assert_eq!(tokens.caller(b"second-token").is_some(), admitted, "{text:?}");
            assert_eq!(tokens.caller(b"first-token"), None);
        }
    }
}
