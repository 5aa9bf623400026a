//! The engine from outside: the real binary, real ports, a real data directory, and `contracts.md` as the judge.
//!
//! Owns what a card network, a partner's web server and an API client can see. It must never look inside: a test here
//! would hold against any engine that keeps the same contracts. Tests of the list in `hostile.md` carry its numbers.

mod advices;
mod books;
mod hostile_disk;
mod hostile_framings;
mod hostile_links;
mod hostile_machine;
mod hostile_money;
mod hostile_partner;
mod hostile_rest;
mod journal_commands;
mod late;
mod links_out;
mod links_tls;
mod network_simulator;
mod processors;
mod proofs;
mod repeats;
mod replies;
mod reversals;
mod smoke;
mod snapshots;
mod support;
mod taps;
mod trace;
