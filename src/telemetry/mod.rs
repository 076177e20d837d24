//! What the process says about itself: logs and, beside them, the metrics.
//!
//! Never logged, at no level, in no field and in no error: the text of a message and the variables of
//! a template, a full mobile number (only `138****8000`), an APIKEY, a dynamic password, a token, the
//! callback secret, and URLs that may hold one of these (RabbitMQ, Postgres, and with GET the
//! gateway's). A job's id, an smsid and a response code may be logged. A failure is logged once,
//! where it is handled.

mod journal;
pub mod logging;
pub mod traces;
