//! The server against foreign clients (libnbd, QEMU), hostile ones, and its own restart.
//!
//! Every test starts a server of its own; none looks into the server.

mod fixture;
mod foreign_clients;
mod hostile_clients;
mod raw_client;
mod reply_order;
mod restart;
mod shutdown;
