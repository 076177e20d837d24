//! Secrets: where they come from, when they are needed, and that nothing shows them.

use secrecy::ExposeSecret;

use super::super::{Needs, load};
use super::{file, load_text, loaded, problem, with};

const NONE: &[(&str, &str)] = &[];
const TOKEN: &str = "admin.tokens.al.role = \"viewer\"\nadmin.tokens.al";

#[test]
fn secrets_come_from_files_without_their_line_end() {
    let (amqp, postgres) = (file("amqp://u:p@h/v\r\n"), file("postgres://h/db\n"));
    let (key, token, secret) = (file("file-key\n"), file("file-token\n\n"), file("0123456789abcdef"));
    let path = |file: &tempfile::NamedTempFile| file.path().display().to_string();
    let text = format!(
        "rabbitmq.url_file = \"{}\"\npostgres.url_file = \"{}\"\naccounts.main.api_id = \"C1\"\n\
         accounts.main.api_key_file = \"{}\"\ncallbacks.secret_file = \"{}\"\nadmin.tokens.al.role = \"viewer\"\n",
        path(&amqp),
        path(&postgres),
        path(&key),
        path(&secret)
    );
    let env = [("DISPATCHER__ADMIN__TOKENS__AL__TOKEN_FILE", path(&token))];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let config = load_text(&text, &env, Needs::Secrets).unwrap();
    assert_eq!(config.rabbitmq.url.expose_secret(), "amqp://u:p@h/v");
    assert_eq!(config.postgres.url.expose_secret(), "postgres://h/db");
    assert_eq!(config.account("main").unwrap().api_key.as_ref().unwrap().expose_secret(), "file-key");
    assert_eq!(config.admin.tokens["al"].token.as_ref().unwrap().expose_secret(), "file-token");
    assert_eq!(config.callbacks.secret.as_ref().unwrap().expose_secret(), "0123456789abcdef");
}

#[test]
fn a_relative_file_starts_at_the_configurations_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("main.key"), "near-key\n").unwrap();
    let text = with("").replace("api_key = \"minimal-key\"", "api_key_file = \"main.key\"");
    let path = folder.path().join("dispatcher.toml");
    std::fs::write(&path, text).unwrap();
    let config = load(Some(&path), std::iter::empty(), Needs::Secrets).unwrap();
    assert_eq!(config.account("main").unwrap().api_key.as_ref().unwrap().expose_secret(), "near-key");
}

#[test]
fn a_bad_secret_is_a_problem_that_does_not_quote_it() {
    let (empty, lines, large) = (file("\n"), file("geheim\nmore"), file(&"geheim".repeat(2_000)));
    let key = |file: &tempfile::NamedTempFile| format!("api_key_file = \"{}\"", file.path().display());
    for (file, expected) in
        [(&empty, "is empty: write"), (&lines, "holds a blank, a line break"), (&large, "more than 8192")]
    {
        let text = with("").replace("api_key = \"minimal-key\"", &key(file));
        let found = load_text(&text, NONE, Needs::Secrets).unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("file: accounts.main.api_key_file: ") && found[0].contains(expected), "{found:?}");
        assert!(!found[0].contains("geheim"), "{found:?}");
    }
    for (more, expected) in [
        ("accounts.main.api_key = \"geheim \"".to_owned(), "accounts.main.api_key: holds a blank"),
        (
            "accounts.main.api_key = \"geheimß\"".into(),
            "accounts.main.api_key: holds a blank, a line break or a character",
        ),
        ("accounts.main.api_key = \"\"".into(), "accounts.main.api_key: is empty"),
        (
            "accounts.main.api_key = \"geheim\"\naccounts.main.api_key_file = \"geheim\"".into(),
            "accounts.main.api_key: is given twice: remove `api_key` or `api_key_file`",
        ),
        (
            "callbacks.secret_file = \"geheim\"".into(),
            "callbacks.secret_file: the file it names cannot be read: No such file",
        ),
        ("callbacks.secret_file = 1".into(), "callbacks.secret_file: is no file name"),
        ("callbacks.secret = \"geh\"".into(), "callbacks.secret: is no secret for a URL: use 4"),
        ("callbacks.secret = \"geheim/geheim/geheim\"".into(), "callbacks.secret: is no secret for a URL"),
        (format!("{TOKEN}.token = \"geh\""), "admin.tokens.al.token: is too short to be safe"),
        ("rabbitmq.url = \"geheim\"".into(), "rabbitmq.url: is no URL"),
        ("rabbitmq.url = \"amqp://u:ge/heim@h\"".into(), "rabbitmq.url: is no URL (invalid port number)"),
        ("postgres.url = \"geheim://geheim\"".into(), "postgres.url: does not begin with"),
        ("gateway.submit_url = \"http://geheim:geheim@h/?method=Submit\"".into(), "gateway.submit_url: holds a user"),
        (
            "gateway.submit_url = \"http://h/?method=Submit&password=geheim\"".into(),
            "gateway.submit_url: holds the parameter",
        ),
        (
            "accounts.main.api_kee = \"geheim\"".into(),
            "accounts.main.api_kee: is no key of [accounts.main]: did you mean `api_key`?",
        ),
    ] {
        let found = problem(&more, NONE);
        assert!(found.starts_with(&format!("file: {expected}")), "{found}");
        assert!(!found.contains("geheim") && !found.contains("heim@"), "{found}");
    }
}

#[test]
fn a_secret_both_in_the_file_and_as_a_variables_file_is_given_twice() {
    let found = problem("", &[("DISPATCHER__ACCOUNTS__MAIN__API_KEY_FILE", "/run/key")]);
    assert!(found.contains("accounts.main.api_key: is given twice"), "{found}");
}

#[test]
fn two_names_do_not_share_a_token() {
    let found = problem(
        "admin.tokens.al.role = \"viewer\"\nadmin.tokens.al.token = \"geheim-geheim\"\n\
         admin.tokens.bo.role = \"operator\"\nadmin.tokens.bo.token = \"geheim-geheim\"",
        NONE,
    );
    assert_eq!(found, "file: admin.tokens.bo: has the same token as admin.tokens.al: give each its own");
}

#[test]
fn commands_that_need_no_secrets_do_without_them() {
    let urls = "rabbitmq.url = \"amqp://h/v\"\npostgres.url = \"postgres://h/db\"\n";
    let config = load_text(urls, NONE, Needs::NoSecrets).unwrap();
    assert!(config.accounts.is_empty() && config.default_account_name().is_none());
    let config = load_text(&format!("default_account = \"main\"\n{urls}"), NONE, Needs::NoSecrets).unwrap();
    assert_eq!(config.default_account_name(), None);

    let files = format!(
        "{urls}accounts.main.api_id = \"C1\"\naccounts.main.api_key_file = \"/nowhere/key\"\naccounts.b.api_id = \"C2\"\n\
         default_account = \"b\"\ncallbacks.secret_file = \"/nowhere/secret\"\n{TOKEN}.token_file = \"/nowhere/token\""
    );
    let config = load_text(&files, NONE, Needs::NoSecrets).unwrap();
    assert_eq!(config.default_account_name(), Some("b"));
    assert!(config.accounts.values().all(|account| account.api_key.is_none()));
    assert!(config.callbacks.secret.is_none() && config.admin.tokens["al"].token.is_none());
    assert_eq!(load_text(&files, NONE, Needs::Secrets).unwrap_err().len(), 4);

    // The two URLs are what such a command needs.
    let found = load_text("postgres.url_file = \"/nowhere/url\"", NONE, Needs::NoSecrets).unwrap_err();
    assert!(
        found[0].contains("rabbitmq.url: is missing") && found[1].contains("postgres.url_file: the file"),
        "{found:?}"
    );
}

#[test]
fn debug_shows_no_secret() {
    let shown = loaded(
        "rabbitmq.url = \"amqp://u:geheim@h/v\"\npostgres.url = \"postgres://u:geheim@h/v\"\n\
         accounts.main.api_key = \"geheim\"\ncallbacks.secret = \"geheim-geheim-geheim\"\n\
         admin.tokens.al.role = \"viewer\"\nadmin.tokens.al.token = \"geheim-geheim\"",
        NONE,
    );
    let shown = format!("{shown:?} {shown:#?}");
    assert!(!shown.contains("geheim"), "{shown}");
    assert!(shown.contains("REDACTED") && shown.contains("C00000000"), "{shown}");
}

#[test]
fn a_token_in_a_file_may_change_while_the_daemon_runs() {
    let token = file("first-token");
    let text = format!("{TOKEN}.token_file = \"{}\"", token.path().display());
    let before = loaded(&text, NONE);
    std::fs::write(token.path(), "second-token").unwrap();
    let after = loaded(&text, NONE);
    assert_eq!((before.needs_restart(&after), before.changed(&after)), (vec![], vec![]));
    let inline = loaded(&format!("{TOKEN}.token = \"second-token\""), NONE);
    assert_eq!(after.needs_restart(&inline), ["admin.tokens"]);
}

#[test]
fn what_changed_is_named_key_by_key() {
    let key = file("first-key");
    let text = |more: &str| format!("accounts.main.api_key_file = \"{}\"\n{more}", key.path().display());
    let load = |more: &str| {
        load_text(&with(&text(more)).replace("accounts.main.api_key = \"minimal-key\"\n", ""), NONE, Needs::Secrets)
    };
    let before = load("limits.mobile = \"2/s\"\nlog.level = \"warn\"").unwrap();
    std::fs::write(key.path(), "second-key").unwrap();
    let after = load("limits.mobile = [\"2/s\", \"9/d\"]\ncodes.4072 = \"retry\"").unwrap();
    assert_eq!(before.changed(&after), ["accounts.main.api_key", "codes.4072", "limits.mobile", "log.level"]);
}
