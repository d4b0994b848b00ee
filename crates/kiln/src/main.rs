//! The kiln binary: the server, and the command line client that talks to it.
//!
//! Only here are arguments, environment and files read. Everything below takes plain values.

mod account_arguments;
mod arguments;
mod client;
mod commands;
mod config;
mod credentials;
mod download;
mod objects;
mod output;
mod pages;
mod places;
mod progress;
mod serve;
mod simplestreams;
mod tls;
mod upload;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Before there are threads: what this one gives up, another would keep.
    if matches!(arguments.command, Command::Confined) {
        return match kiln_service::work_confined() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("kiln: the runtime could not be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(commands::run(arguments)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kiln: {error}");
            ExitCode::FAILURE
        }
    }
}
