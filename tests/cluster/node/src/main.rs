// SPDX-License-Identifier: GPL-2.0

//! Runs commands on the nodes of a test cluster: the end in the node (`serve`), and the end on the
//! machine that has the cluster (`exec`, `wait`). It is for a network that nobody else is on.
#![forbid(unsafe_code)]

mod client;
mod frame;
mod server;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: cluster-node serve ADDRESS:PORT
       cluster-node exec ADDRESS:PORT PID COMMAND [ARGUMENT...]
       cluster-node wait MILLISECONDS ADDRESS:PORT...";

/// What `exec` ends with when the node cannot be reached.
const NO_NODE: u8 = 255;

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|e| format!("{text}: {e}"))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{text}: a number is needed"))
}

fn run(args: &[String]) -> Result<u8, String> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", at] => server::serve(address(at)?)
            .map(|()| 0)
            .map_err(|e| format!("{at}: {e}")),
        ["exec", at, pid, command @ ..] if !command.is_empty() => {
            client::exec(address(at)?, number(pid)?, command)
        }
        ["wait", ms, nodes @ ..] if !nodes.is_empty() => {
            let nodes = nodes
                .iter()
                .map(|n| address(n))
                .collect::<Result<Vec<_>, _>>()?;
            client::wait(Duration::from_millis(number(ms)?), &nodes).map(|()| 0)
        }
        _ => Err(USAGE.into()),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("{e}");
            ExitCode::from(NO_NODE)
        }
    }
}
