// SPDX-License-Identifier: Apache-2.0

//! Exit codes.
//!
//! The codes are few and a promise: help, manual and `docs/steward-cli.md` list them.

command_line::exit_codes! {
    "0" => "all is well; after SIGTERM or SIGINT, all requests were finished",
    Check = 1 => "a check failed: a certificate or evidence does not hold",
    Usage = 2 => "the command line is wrong, or the policy has faults",
    Input = 3 => "a file that was named cannot be used",
    Unsound = 4 => "the service refuses to start: key, chain, policy and flags do not fit together",
    Failed = 5 => "something else failed, such as listening, or a hardware security module",
}
