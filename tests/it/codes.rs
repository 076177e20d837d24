//! What the gateway's answers do: every code of the contract's table, and everything that is no answer.

mod account;
mod balance;
mod odd;
mod refusals;
mod retry;
mod table;
mod unreachable;
