// SPDX-License-Identifier: Apache-2.0

//! Exit codes.

command_line::exit_codes! {
    "0" => "all is well; after SIGTERM or SIGINT, all requests were finished",
    Check = 1 => "a check found faults in the store",
    Usage = 2 => "the command line is wrong, or the configuration has faults",
    Input = 3 => "a file that was named cannot be used",
    Unsound = 4 => "the server refuses to start: certificate, key and options do not fit together",
    Failed = 5 => "something else failed, such as the store, or listening",
}
