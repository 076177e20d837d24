//! Messages come in: the topology, what is no job, repeats, and jobs that are not for now.

mod refused;
mod repeats;
mod times;
mod topology;
