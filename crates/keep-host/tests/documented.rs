// SPDX-License-Identifier: Apache-2.0

//! `docs/host-calls.md` names the calls and streams that there are, in their order, and no others.

use std::path::Path;

use sallyport::{BootInfo, Call, HostErrno, Stream};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/host-calls.md");
    std::fs::read_to_string(path).unwrap()
}

fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let level = heading.split(' ').next().unwrap();
    let begin = page.find(&format!("\n{heading}\n")).expect(heading) + heading.len() + 2;
    let rest = &page[begin..];
    // Up to the next heading of this level or above.
    let end = rest.match_indices("\n#").map(|(at, _)| at).find(|&at| {
        let line = rest[at + 1..].split(' ').next().unwrap_or_default();
        line.len() <= level.len()
    });
    &rest[..end.unwrap_or(rest.len())]
}

/// The rows of the table in a section, by cell.
fn rows<'a>(page: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let lines = section(page, heading).lines().filter(|line| line.starts_with("| `"));
    lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim()).collect()).collect()
}

fn code(name: &str) -> String {
    format!("`{name}`")
}

#[test]
fn each_call_is_documented_and_no_other() {
    let page = page();
    let listed: Vec<_> = rows(&page, "## Calls").iter().map(|row| row[0].to_owned()).collect();
    let expected: Vec<_> = Call::ALL.iter().map(|call| code(call.name())).collect();
    assert_eq!(listed, expected);
    let headings: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(headings, expected);
    for call in Call::ALL {
        let text = section(&page, &format!("### `{}`", call.name()));
        for part in ["Why:", "The host learns:", "Checked by the Keep:", "Checked by the host:"] {
            assert!(text.contains(&format!("- **{part}**")), "{}: {part}", call.name());
        }
        let errors: Vec<_> = HostErrno::ALL.iter().filter(|e| e.may_answer(*call)).collect();
        let (_, said) = text.split_once("- **Errors:** ").unwrap_or_else(|| panic!("{call:?}"));
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let said: Vec<_> = said.trim_end_matches('.').split(", ").collect();
        let meant: Vec<_> = match errors[..] {
            [] => vec!["none"],
            _ => errors.iter().map(|errno| errno.name()).collect(),
        };
        assert_eq!(said, meant, "errors of {}", call.name());
    }
}

#[test]
fn each_stream_is_documented_with_its_direction() {
    let page = page();
    let listed: Vec<_> = rows(&page, "## Streams")
        .iter()
        .map(|row| (row[0].to_owned(), row[1].to_owned()))
        .collect();
    let expected: Vec<_> = Stream::ALL
        .iter()
        .map(|stream| {
            (code(stream.name()), if stream.is_readable() { "read" } else { "write" }.to_owned())
        })
        .collect();
    assert_eq!(listed, expected);
}

/// The bounds that the protocol states for itself are those of the formats that it carries.
#[test]
fn bounds_agree() {
    assert_eq!(sallyport::MAX_LAUNCH, keep_launch::MAX_LAUNCH as u64);
    assert_eq!(sallyport::MAX_INPUT, keep_launch::MAX_INPUT);
    // Every field of the header is spoken of; this fails to compile if there is a new one.
    let _ = |info: BootInfo| {
        let BootInfo { ram, ram_limit, tsc_khz, input_len, launch_len, .. } = info;
        let BootInfo { seeds, output, events, evidence, network, .. } = info;
        let flags = [seeds, output, events, evidence, network];
        (ram, ram_limit, tsc_khz, input_len, launch_len, flags)
    };
}
