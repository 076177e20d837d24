//! The client as the dispatcher's gateway: accounts by index.

use chrono::{DateTime, Utc};

use super::client::Client;
use super::options::Credentials;
use super::reply;
use crate::dispatch::ports::{Balance, Boxed, Gateway, Submitted};
use crate::domain::codes::SUCCESS;
use crate::domain::job::Payload;
use crate::domain::mobile::Mobile;

/// The gateway with the credentials of every account, in the order of their index.
pub struct Accounts {
    client: Client,
    credentials: Vec<Credentials>,
}

impl Accounts {
    /// All accounts share the client's connections.
    pub fn new(client: Client, credentials: Vec<Credentials>) -> Self {
        Accounts { client, credentials }
    }
}

impl Gateway for Accounts {
    fn submit<'a>(
        &'a self,
        account: usize,
        mobile: Mobile,
        payload: &'a Payload,
        now: DateTime<Utc>,
    ) -> Boxed<'a, Submitted> {
        Box::pin(self.client.submit(&self.credentials[account], mobile, payload, now.timestamp()))
    }

    fn balance(&self, account: usize, now: DateTime<Utc>) -> Boxed<'_, Balance> {
        Box::pin(async move {
            match self.client.balance(&self.credentials[account], now.timestamp()).await {
                reply::Balance::Answer { code: SUCCESS, left: Some(left), .. } => Balance::Left(left),
                reply::Balance::Answer { code: SUCCESS, left: None, .. } => {
                    Balance::Unreachable("the answer has no readable balance".into())
                }
                reply::Balance::Answer { code, .. } => Balance::Refused(code),
                reply::Balance::Unavailable(why) => Balance::Unreachable(why),
            }
        })
    }
}
