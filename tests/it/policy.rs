//! What a number may get over hours and days, quiet hours, and who wants no campaigns.

mod night;
mod spared;
mod windows;
