// SPDX-License-Identifier: GPL-2.0

//! Every capture can be cut to the last byte, and has the messages that `decoded/` lists.

use pcap_reader::{captures, Capture, Kind};

#[test]
fn all_of_every_capture() {
    let Some(files) = captures() else { return };
    for path in files {
        let c = Capture::open(&path).unwrap();
        let items = c.items().unwrap();
        let lnet = items
            .iter()
            .filter(|i| matches!(i.kind, Kind::Lnet(_)))
            .count();
        let hello = items
            .iter()
            .filter(|i| matches!(i.kind, Kind::Hello(_)))
            .count();
        let cut: usize = items
            .iter()
            .map(|i| match &i.kind {
                Kind::Request(b) | Kind::Hello(b) | Kind::Noop(b) => b.len(),
                Kind::Lnet(l) => l.frame.len() + l.header.len() + l.payload.len(),
            })
            .sum();
        let there: usize = c
            .connections
            .iter()
            .flat_map(|c| &c.streams)
            .map(|s| s.bytes.len())
            .sum();
        println!(
            "{}: {} connections, {hello} HELLOs, {lnet} messages",
            c.name,
            c.connections.len()
        );
        assert_eq!(cut, there, "{}", c.name);

        // One line for each message; requests and replies are PUTs there.
        let list = path
            .with_file_name("decoded")
            .join(format!("{}.txt", c.name));
        let list = std::fs::read_to_string(list).unwrap();
        let count = |kinds: &[&str]| {
            list.lines()
                .filter(|l| {
                    l.split_whitespace()
                        .nth(2)
                        .is_some_and(|k| kinds.contains(&k))
                })
                .count()
        };
        assert_eq!(
            lnet,
            count(&["REQ", "REP", "ERR", "PUT", "GET", "REPLY", "ACK"]),
            "{}",
            c.name
        );
        assert_eq!(hello, count(&["HELLO"]), "{}", c.name);
    }
}
