// SPDX-License-Identifier: Apache-2.0

//! Programs with several threads, each on a processor of its own, wherever a Keep can run.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::Duration;

use common::{Place, Running, on_all};
use keep_backend::NetworkLimits;
use keep_launch::Report;

/// Far more than any of them takes.
const LIMIT: Duration = Duration::from_secs(60);

fn start(place: Place, what: &str, processors: u32) -> Running {
    Running::start_with(place, &format!("threads {what}"), |spec| {
        spec.processors = processors;
        spec.network = Some(NetworkLimits::all());
    })
}

fn passes(what: &str, processors: u32) {
    on_all(|place| {
        let mut keep = start(place, what, processors);
        assert_eq!(keep.end_within(LIMIT).unwrap(), Report::Exited { code: 0 });
    });
}

#[test]
fn threads_run_at_the_same_time() {
    passes("meet", 2);
}

#[test]
fn there_are_as_many_threads_as_processors() {
    on_all(|place| {
        for processors in [1, 2, 7, 100] {
            let mut keep = start(place, "many", processors);
            if place != Place::Nil {
                assert_eq!(keep.line(), processors.min(7).to_string());
            }
            assert_eq!(keep.end_within(LIMIT).unwrap(), Report::Exited { code: 0 });
        }
    });
}

#[test]
fn threads_wait_for_each_other() {
    passes("locks", 3);
}

#[test]
fn waiting_has_an_end() {
    passes("times", 2);
}

#[test]
fn memory_that_is_gone_is_gone_for_all() {
    passes("memory", 2);
}

#[test]
fn one_thread_serves_while_others_ask_and_compute() {
    passes("sockets", 3);
}

#[test]
fn who_reads_standard_input_keeps_nobody_up() {
    on_all(|place| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut keep = Running::start_with(place, "threads stdin", |spec| {
            spec.processors = 2;
            spec.stdio[0] = Some(OwnedFd::from(reader).into());
        });
        while keep.line() != "ready" {}
        writer.write_all(b"a line\n").unwrap();
        assert_eq!(keep.end_within(LIMIT).unwrap(), Report::Exited { code: 0 });
    });
}

#[test]
fn a_thread_that_crashes_ends_the_program() {
    on_all(|place| {
        let error = start(place, "crash", 2).end_within(LIMIT).unwrap_err().to_string();
        assert!(error.contains("signal 11") || error.contains("SIGSEGV"), "{error}");
    });
}

#[test]
fn all_threads_end_with_the_program() {
    passes("exit", 3);
    on_all(|place| {
        let mut keep = start(place, "spin", 2);
        assert_eq!(keep.line(), "ready");
        keep.kill();
    });
}
