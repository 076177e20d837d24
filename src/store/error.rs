//! Which errors of Postgres pass by themselves, and which never will.

use crate::dispatch::ports::LedgerError;

/// SQLSTATE classes that say that the *rows* are at fault: data exceptions, constraint violations, and values beyond a
/// limit of Postgres' own, such as one that is too long for an index or too deep for its parser.
/// All others (connection, resources, read-only, shutdown, and whatever is not known) are worth
/// another try: giving up on a row by mistake would be worse than trying again.
const ROW_FAULTS: [&str; 3] = ["22", "23", "54"];

pub(super) fn ledger_error(error: sqlx::Error) -> LedgerError {
    match &error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            if ROW_FAULTS.iter().any(|class| code.starts_with(class)) {
                // The message of a constraint error quotes no values; its detail, left out here, does.
                return LedgerError::Refused(format!("{} ({code})", database.message()));
            }
            LedgerError::Unavailable(format!("{} ({code})", database.message()))
        }
        // Our own encoding of a value failed: the row is at fault.
        sqlx::Error::Encode(_) => LedgerError::Refused("a value cannot be encoded".into()),
        other => LedgerError::Unavailable(other.to_string()),
    }
}
