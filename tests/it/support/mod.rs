//! What tests of the real services share.

mod binary;
mod database;

pub use binary::{Ended, Run, dispatcher};
pub use database::TestDb;

/// The RabbitMQ that tests share. Panics, with what to do, where there is none.
pub fn amqp_url() -> String {
    std::env::var("AMQP_URL").expect("AMQP_URL is not set: run `make test`, which starts RabbitMQ")
}
